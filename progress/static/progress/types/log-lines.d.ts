/**
 * Follow a task's log, which implies `watch`. The answer holds the lines so far, and grows; `logs:<id>` tells.
 * Each `openLog` needs its `closeLog`.
 * @param {ProgressSocket} socket
 * @param {string} id As `progress.key()` gives it.
 * @param {{token?: ?string, after?: ?string}} [options] `after`: cursor to continue from; without it the newest 200
 *   lines come first.
 * @returns {import("../protocol.d.ts").Log}
 */
export function openLog(socket: ProgressSocket, id: string, { token, after }?: {
    token?: string | null;
    after?: string | null;
}): import("../protocol.d.ts").Log;
/** @param {ProgressSocket} socket @param {string} id */
export function closeLog(socket: ProgressSocket, id: string): void;
export type ProgressSocket = import("./progress-socket.js").ProgressSocket;
export type LogLine = import("../protocol.d.ts").LogLine;
export type OpenLog = {
    lines: LogLine[];
    cursor: string | null;
    truncated: boolean;
    refused: boolean;
    readers: (() => void)[];
};
