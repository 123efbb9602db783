/**
 * One socket for a whole page: watches tasks, keeps the newest snapshot of each, and comes back by itself.
 *
 * No DOM, no dependency; runs in Node as well. Speaks `docs/protocol.md`. What happens is told by events:
 * - `task:<id>`: something about a task changed; `task(id)` says what is known
 * - `snapshot`, `logs`, `watching`, `refused`, `accepted`: what came, in `detail`
 * - `state`: the connection's `state` changed
 */

import { Connection } from "./connection.js";
import { Watches } from "./watches.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {import("./protocol.d.ts").Known} Known */

const ANSWER = 5_000; // ms; for an answer to a cancel
const LINGER = 5_000; // ms; a connection that nobody needs any more stays open

/** @type {Map<string, ProgressSocket>} */
// On the global object: a page may load this module twice, by its plain name and by a hashed one.
const sockets = (/** @type {any} */ (globalThis)[Symbol.for("progress.sockets")] ??= new Map());

/**
 * True if `snapshot` replaces `known`, whatever attempt or state either has.
 * @param {Snapshot} snapshot
 * @param {Snapshot} [known]
 */
export const isNewer = (snapshot, known) => !known || snapshot.seq > known.seq;

export class ProgressSocket extends EventTarget {
  /** The page's socket for `url`: one, however many bars. @param {string} url */
  static shared(url) {
    const full = absolute(url);
    const socket = sockets.get(full) ?? new ProgressSocket({ url: full });
    sockets.set(full, socket);
    return socket;
  }

  #watches = new Watches();
  /** @type {Map<string, (answer: string) => void>} */ #asked = new Map(); // by ref
  /** @type {Set<string>} */ #changed = new Set();
  #flushing = false;
  #refs = 0;
  /** @type {?number} */ #ahead = null; // ms that the server's clock is ahead of ours
  #otherClock = false;
  /** @type {any} */ #lingering;

  /** @param {{url: string} & import("./protocol.d.ts").Surroundings} options `url`: also as in a link. */
  constructor({ url, ...surroundings }) {
    super();
    const owner = {
      opened: () => this.#onOpen(),
      received: (/** @type {string} */ text) => this.#receive(text),
      changed: () => this.#onState(),
      wanted: () => this.#watches.wanted,
    };
    this.connection = new Connection(absolute(url), owner, surroundings);
  }

  get state() {
    return this.connection.state;
  }

  /**
   * The server's time in ms since 1970, or null before the server was heard. Durations are differences to
   * this, so it does not matter what this machine believes the time to be.
   */
  get serverTime() {
    return this.#ahead === null ? null : this.#ahead + this.connection.host.now();
  }

  /** What is known of a task. @param {string} id @returns {Known} */
  task(id) {
    return this.#watches.tasks.get(id) ?? { may: [] };
  }

  /**
   * Watch a task: with the rights of the session, and of a watch token. Every `watch` needs its `unwatch`.
   * @param {string} id As `progress.key()` gives it.
   * @param {{token?: ?string}} [options] A later token takes the place of the first.
   */
  watch(id, { token } = {}) {
    const task = this.#watches.task(id);
    task.watchers += 1;
    task.token = token || task.token;
    this.#change(id);
  }

  /** @param {string} id */
  unwatch(id) {
    const task = this.#watches.tasks.get(id);
    if (task?.watchers) task.watchers -= 1;
    this.#change(id);
  }

  /** Watch the user's tasks, those that start later too, for as long as the page lives. */
  watchMine() {
    this.#watches.mine = true;
    this.#change();
  }

  /**
   * Follow a task's log, which implies `watch`. The answer holds the lines so far, and grows.
   * @param {string} id
   * @param {?string} [after] The cursor to continue from; without it the newest 200 lines come first.
   * @param {{token?: ?string}} [options]
   * @returns {import("./protocol.d.ts").Log}
   */
  logs(id, after = null, options = {}) {
    const log = this.#watches.openLog(id, after);
    this.watch(id, options);
    return log;
  }

  /** @param {string} id */
  unlogs(id) {
    if (this.#watches.closeLog(id)) this.unwatch(id);
  }

  /**
   * Ask that a task be cancelled.
   * @param {string} id
   * @returns {Promise<string>} "accepted": the wish is recorded, the task runs on until it notices. "unsent":
   *   no connection, or no answer in 5 s. Else the code of the refusal.
   */
  cancel(id) {
    const ref = `cancel-${(this.#refs += 1)}`;
    const { setTimeout, clearTimeout } = this.connection.host;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#answer(ref, "unsent");
        this.connection.ping();
      }, ANSWER);
      this.#asked.set(ref, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      if (!this.connection.send({ type: "cancel", id, ref })) this.#answer(ref, "unsent");
    });
  }

  /**
   * Take in a snapshot, such as one that the page was rendered with.
   * @param {Snapshot} snapshot
   * @returns {boolean} False if nothing newer was in it.
   */
  merge(snapshot) {
    const task = this.#watches.task(snapshot.id);
    if (!isNewer(snapshot, task.snapshot)) return false;
    task.snapshot = snapshot;
    this.#tell("snapshot", snapshot);
    this.#tell(`task:${snapshot.id}`);
    return true;
  }

  /** Dial now, even after a refusal. */
  connect() {
    this.connection.dial();
  }

  /** Close, until something is watched again. */
  close() {
    this.connection.close();
  }

  // --- What is wanted, and what the server was told

  /** @param {string} [id] */
  #change(id) {
    if (id) this.#changed.add(id);
    if (this.#flushing) return;
    this.#flushing = true;
    // At the end of this turn: an element that is moved costs nothing, fifty that are inserted one message.
    queueMicrotask(() => this.#flush());
  }

  #flush() {
    this.#flushing = false;
    const { connection } = this;
    connection.host.clearTimeout(this.#lingering);
    if (!this.#watches.wanted) this.#lingering = connection.host.setTimeout(() => this.close(), LINGER);
    else if (connection.idle) connection.dial();
    const changed = [...this.#changed];
    this.#changed.clear();
    if (connection.open) this.#send(this.#watches.messages(changed));
    this.#watches.forget(changed);
  }

  /** @param {object[]} messages */
  #send(messages) {
    for (const message of messages) this.connection.send(message);
  }

  // --- What the server says

  #onOpen() {
    this.#otherClock = true; // perhaps, after a fail-over to another Redis
    this.#send(this.#watches.begin());
  }

  #onState() {
    // What was asked over a connection that is gone stays unanswered.
    if (!this.connection.open) for (const ref of [...this.#asked.keys()]) this.#answer(ref, "unsent");
    this.#tell("state", this.state);
  }

  /** @param {string} text */
  #receive(text) {
    /** @type {any} */
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // the next frame is whole again
    }
    if (frame.at) this.#setClock(Date.parse(frame.at) - this.connection.host.now());
    if (frame.type === "snapshots") {
      for (const snapshot of frame.items) if (this.#watches.expects(snapshot.id)) this.merge(snapshot);
    } else if (frame.type === "watching") this.#onWatching(frame.items);
    else if (frame.type === "logs") this.#onLogs(frame);
    else if (frame.type === "refused") this.#onRefused(frame);
    else if (frame.type === "accepted") this.#answer(frame.ref, "accepted");
    else if (frame.type === "heartbeat") this.#watches.again().forEach((id) => this.#change(id));
    else if (frame.type === "closing") this.connection.dictate(frame.retry_ms);
    if (["watching", "logs", "refused", "accepted"].includes(frame.type)) this.#tell(frame.type, frame);
  }

  /** @param {number} ahead The greatest comes from the frame that was under way for the shortest time. */
  #setClock(ahead) {
    if (Number.isNaN(ahead)) return;
    this.#ahead = this.#otherClock || this.#ahead === null ? ahead : Math.max(this.#ahead, ahead);
    this.#otherClock = false;
  }

  /** @param {{id: string, may: string[]}[]} items */
  #onWatching(items) {
    for (const { id, may } of items) {
      if (!this.#watches.expects(id)) continue;
      Object.assign(this.#watches.task(id), { may, refused: undefined });
      this.#tell(`task:${id}`);
    }
  }

  /** @param {{id: string, lines: any[], next: string, truncated: boolean}} frame */
  #onLogs(frame) {
    if (this.#watches.addLines(frame)) this.#tell(`logs:${frame.id}`, frame.lines);
  }

  /** @param {{ids: string[], code: string, ref?: string}} frame */
  #onRefused({ ids, code, ref }) {
    if (this.#answer(ref, code)) return;
    for (const id of ids) {
      const log = this.#watches.logs.get(id);
      const task = this.#watches.tasks.get(id);
      if (ref === "logs" && code === "not_allowed" && log) log.refused = true;
      else if (ref !== "logs" && task) task.refused = code;
      this.#tell(`task:${id}`);
    }
  }

  /** @param {string} [ref] @param {string} [answer] @returns {boolean} True if somebody waited for it. */
  #answer(ref = "", answer = "") {
    const resolve = this.#asked.get(ref);
    this.#asked.delete(ref);
    resolve?.(answer);
    return !!resolve;
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {string} url */
function absolute(url) {
  return new URL(url, globalThis.location?.href).href.replace(/^http/, "ws");
}
