/** The log lines of tasks, as far as a page follows them. Each is there once, in order, however they came. */

import { wish } from "./wishes.js";

/** @typedef {import("./progress-socket.js").ProgressSocket} ProgressSocket */
/** @typedef {import("./protocol.d.ts").LogLine} LogLine */
/** @typedef {{lines: LogLine[], cursor: ?string, truncated: boolean, refused: boolean, readers: (() => void)[]}} OpenLog */

const LINES = 1_000; // of a log are kept, as many as the server keeps

/** @type {WeakMap<ProgressSocket, Map<string, OpenLog>>} */
const logs = new WeakMap();

/**
 * Follow a task's log, which implies `watch`. The answer holds the lines so far, and grows; `logs:<id>` tells.
 * Each `openLog` needs its `closeLog`.
 * @param {ProgressSocket} socket
 * @param {string} id As `progress.key()` gives it.
 * @param {{token?: ?string, after?: ?string}} [options] `after`: cursor to continue from; without it the newest 200
 *   lines come first.
 * @returns {import("./protocol.d.ts").Log}
 */
export function openLog(socket, id, { token, after = null } = {}) {
  const log = logsOf(socket).get(id) ?? { lines: [], cursor: after, truncated: false, refused: false, readers: [] };
  logsOf(socket).set(id, log);
  log.readers.push(wish(socket, `logs ${id}`, messageOf(id, log)));
  socket.watch(id, { token });
  return log;
}

/** @param {ProgressSocket} socket @param {string} id */
export function closeLog(socket, id) {
  const log = logsOf(socket).get(id);
  if (!log) return;
  log.readers.pop()?.();
  queueMicrotask(() => log.readers.length || logsOf(socket).delete(id)); // whoever was only moved reads on
  socket.unwatch(id);
}

/** @param {string} id @param {OpenLog} log */
const messageOf = (id, { cursor }) => ({ type: "logs", id, ref: "logs", ...(cursor && { after: cursor }) });

/** @param {ProgressSocket} socket */
function logsOf(socket) {
  let open = logs.get(socket);
  if (!open) {
    logs.set(socket, (open = new Map()));
    socket.addEventListener("logs", (event) => onLines(socket, /** @type {CustomEvent} */ (event).detail));
    socket.addEventListener("refused", (event) => onRefused(socket, /** @type {CustomEvent} */ (event).detail));
  }
  return open;
}

/** @param {ProgressSocket} socket @param {{id: string, lines: LogLine[], next: string, truncated: boolean}} frame */
function onLines(socket, { id, lines, next, truncated }) {
  const log = logsOf(socket).get(id);
  if (!log || !isAfter(next, log.cursor)) return;
  log.cursor = next;
  log.lines.push(...lines);
  const surplus = log.lines.splice(0, Math.max(0, log.lines.length - LINES));
  log.truncated ||= truncated || surplus.length > 0;
  socket.wishes.set(`logs ${id}`, messageOf(id, log)); // the next server goes on where this one ended
  socket.dispatchEvent(new CustomEvent(`logs:${id}`, { detail: lines }));
}

/** @param {ProgressSocket} socket @param {{ids: string[], code: string, ref?: string}} frame */
function onRefused(socket, { ids, code, ref }) {
  if (ref !== "logs" || code !== "not_allowed") return;
  for (const id of ids) {
    const log = logsOf(socket).get(id);
    if (log) log.refused = true;
    socket.dispatchEvent(new CustomEvent(`task:${id}`));
  }
}

/**
 * Is the log cursor `a` after `b`? Cursors are two numbers: milliseconds and a count.
 * @param {string} a
 * @param {?string} b
 */
function isAfter(a, b) {
  if (!b) return true;
  const [[a1, a2], [b1, b2]] = [a, b].map((cursor) => cursor.split("-").map(Number));
  return a1 > b1 || (a1 === b1 && a2 > b2);
}
