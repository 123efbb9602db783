/**
 * What a page wants to be told besides single tasks: its user's own, a workflow, a log. A wish is said to this server and
 * to each after it, until everybody who wished it has taken it back.
 */

/** @typedef {import("./progress-socket.js").ProgressSocket} ProgressSocket */
/** @typedef {import("./protocol.d.ts").Wish} Wish */

/** @type {WeakMap<ProgressSocket, Map<string, number>>} */ const wishing = new WeakMap();
/** @type {WeakMap<ProgressSocket, Map<string, object>>} */ const trees = new WeakMap();

/**
 * The running tasks of the logged-in user, and those that start later. They come as snapshots.
 * @param {ProgressSocket} socket
 * @returns {() => void} Takes it back.
 */
export const watchMine = (socket) => wish(socket, "mine", { mine: true }, { all: true });

/**
 * A workflow: event `tree` with counts and fraction, and its first 200 members as snapshots.
 * @param {ProgressSocket} socket
 * @param {string} tree A task's id, or that of the result of a group, chain or chord.
 * @returns {() => void} Takes it back.
 */
export function watchTree(socket, tree) {
  const frame = framesOf(socket).get(tree);
  // Who comes later is told what the others know: the server says it again only when something changes.
  if (frame) queueMicrotask(() => socket.dispatchEvent(new CustomEvent("tree", { detail: frame })));
  return wish(socket, `tree ${tree}`, { tree }, { ids: [tree] });
}

/**
 * @param {ProgressSocket} socket
 * @param {string} name Wishes of one name are one.
 * @param {Wish} message A `watch`, unless it has another type.
 * @param {object} [undo] What is to be unwatched in the end.
 * @returns {() => void} Takes it back, once. What is wished again in the same turn, as by an element that is moved, was
 *   never away.
 */
export function wish(socket, name, message, undo) {
  const wished = wishing.get(socket) ?? new Map();
  wishing.set(socket, wished);
  wished.set(name, (wished.get(name) ?? 0) + 1);
  if (wished.get(name) === 1) {
    socket.wishes.set(name, message);
    socket.change();
  }
  let over = false;
  return () => {
    if (!over) queueMicrotask(() => release(socket, wished, name, undo));
    over = true;
  };
}

/** @param {ProgressSocket} socket @param {Map<string, number>} wished @param {string} name @param {object} [undo] */
function release(socket, wished, name, undo) {
  wished.set(name, (wished.get(name) ?? 0) - 1);
  if (wished.get(name)) return;
  wished.delete(name);
  socket.wishes.delete(name);
  trees.get(socket)?.delete(name.replace("tree ", ""));
  if (socket.told.delete(name) && undo) {
    socket.connection.send({ type: "unwatch", ...undo });
    // Other wishes may be for some of the same tasks; those that are watched by their ids are kept, but for "all".
    if ("all" in undo) socket.begin();
    else for (const other of socket.wishes.keys()) socket.told.delete(other);
  }
  socket.change();
}

/** The newest of each workflow that is watched. @param {ProgressSocket} socket */
function framesOf(socket) {
  let frames = trees.get(socket);
  if (!frames) {
    const newest = (frames = new Map());
    trees.set(socket, newest);
    socket.addEventListener("tree", (event) => {
      const { detail } = /** @type {CustomEvent} */ (event);
      if (socket.wishes.has(`tree ${detail.id}`)) newest.set(detail.id, detail);
    });
  }
  return frames;
}
