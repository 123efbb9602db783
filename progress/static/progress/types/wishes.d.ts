/**
 * A workflow: event `tree` with counts and fraction, and its first 200 members as snapshots.
 * @param {ProgressSocket} socket
 * @param {string} tree A task's id, or that of the result of a group, chain or chord.
 * @returns {() => void} Takes it back.
 */
export function watchTree(socket: ProgressSocket, tree: string): () => void;
/**
 * @param {ProgressSocket} socket
 * @param {string} name Wishes of one name are one.
 * @param {Wish} message A `watch`, unless it has another type.
 * @param {object} [undo] What is to be unwatched in the end.
 * @returns {() => void} Takes it back, once. What is wished again in the same turn, as by an element that is moved, was
 *   never away.
 */
export function wish(socket: ProgressSocket, name: string, message: Wish, undo?: object): () => void;
export function watchMine(socket: ProgressSocket): () => void;
export type ProgressSocket = import("./progress-socket.js").ProgressSocket;
export type Wish = import("../protocol.d.ts").Wish;
