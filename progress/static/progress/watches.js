/** What a page wants to see, what it knows of it, and what the server was told of that. No I/O. */

/** @typedef {import("./protocol.d.ts").Known} Known */
/** @typedef {import("./protocol.d.ts").LogLine} LogLine */
/** @typedef {Known & {watchers: number, token: string, tries: number}} Task */
/** @typedef {{cursor: ?string, truncated: boolean, refused: boolean, readers: number}} LogState */
/** @typedef {LogState & {lines: LogLine[]}} OpenLog */

const EVERY = 250; // ms between two frames; the eye needs no more
const IDS = 50; // in one message; the longest ids then fit into the 16 KB that the server takes
const LINES = 1_000; // of a log are kept, as many as the server keeps
const ASK_AGAIN = 20; // heartbeats at which a task that was not found is asked for again

export class Watches {
  /** @type {Map<string, Task>} */ tasks = new Map();
  /** @type {Map<string, OpenLog>} */ logs = new Map();
  mine = false;
  // What this connection's server was told.
  /** @type {Map<string, string>} */ #sent = new Map(); // id → token
  /** @type {Set<string>} */ #sentLogs = new Set();
  #sentMine = false;

  /** @param {string} id */
  task(id) {
    const task = this.tasks.get(id) ?? { may: [], watchers: 0, token: "", tries: 0 };
    this.tasks.set(id, task);
    return task;
  }

  get wanted() {
    return this.mine || [...this.tasks.values()].some((task) => task.watchers);
  }

  /** Frames that were under way when a task was unwatched are late. @param {string} id */
  expects(id) {
    return this.mine || this.#sent.has(id);
  }

  /** Another server, which knows nothing yet. @returns {object[]} All that it must be told. */
  begin() {
    this.#sent.clear();
    this.#sentLogs.clear();
    this.#sentMine = false;
    for (const task of this.tasks.values()) task.tries = 0;
    return this.messages([...this.tasks.keys()]);
  }

  /** What the server must be told because something changed about `ids`. @param {string[]} ids */
  messages(ids) {
    const gone = ids.filter((id) => !this.tasks.get(id)?.watchers && this.#sent.delete(id));
    /** @type {object[]} */
    const messages = inParts({ type: "unwatch" }, gone);
    /** @type {Map<string, string[]>} */
    const byToken = new Map();
    for (const id of ids) {
      const task = this.tasks.get(id);
      if (!task?.watchers || this.#sent.get(id) === task.token) continue;
      this.#sent.set(id, task.token);
      byToken.set(task.token, [...(byToken.get(task.token) ?? []), id]);
    }
    for (const [token, some] of byToken) {
      messages.push(...inParts({ type: "watch", every_ms: EVERY, ...(token && { token }) }, some));
    }
    if (this.mine && !this.#sentMine) messages.push({ type: "watch", mine: true, every_ms: EVERY });
    this.#sentMine = this.mine;
    for (const [id, { cursor }] of this.logs) {
      if (this.#sentLogs.has(id)) continue;
      this.#sentLogs.add(id);
      messages.push({ type: "logs", id, ref: "logs", ...(cursor && { after: cursor }) });
    }
    return messages;
  }

  /** Forget what nobody watches any more. @param {string[]} ids */
  forget(ids) {
    for (const id of ids) if (!this.mine && !this.tasks.get(id)?.watchers) this.tasks.delete(id);
  }

  /**
   * A task that was not found may yet come, or come back: Redis lost its data, and the worker tells again.
   * @returns {string[]} Those to ask for again.
   */
  again() {
    const ids = [];
    for (const [id, task] of this.tasks) {
      if (task.refused !== "not_found" || (task.tries += 1) > ASK_AGAIN) continue;
      this.#sent.delete(id);
      this.#sentLogs.delete(id);
      ids.push(id);
    }
    return ids;
  }

  /** @param {string} id @param {?string} after */
  openLog(id, after) {
    const fresh = { lines: [], cursor: after, truncated: false, refused: false, readers: 0 };
    const log = this.logs.get(id) ?? fresh;
    log.readers += 1;
    this.logs.set(id, log);
    return log;
  }

  /** @param {string} id @returns {boolean} False if it was not open. */
  closeLog(id) {
    const log = this.logs.get(id);
    if (!log) return false;
    log.readers -= 1;
    if (log.readers) return true;
    this.#sentLogs.delete(id);
    return this.logs.delete(id);
  }

  /**
   * Append lines, unless they are known.
   * @param {{id: string, lines: LogLine[], next: string, truncated: boolean}} frame
   * @returns {boolean} True if they were new.
   */
  addLines({ id, lines, next, truncated }) {
    const log = this.logs.get(id);
    if (!log || !isAfter(next, log.cursor)) return false;
    log.cursor = next;
    log.lines.push(...lines);
    const surplus = log.lines.splice(0, Math.max(0, log.lines.length - LINES));
    log.truncated ||= truncated || surplus.length > 0;
    return true;
  }
}

/** @param {object} message @param {string[]} ids */
function inParts(message, ids) {
  const parts = [];
  for (let at = 0; at < ids.length; at += IDS) parts.push({ ...message, ids: ids.slice(at, at + IDS) });
  return parts;
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
