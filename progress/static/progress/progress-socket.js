/** One connection for a whole page: watches tasks, keeps the newest of each. No DOM. See `docs/browser.md`. */

import { connect } from "./connection.js";

/** @import {Fallback, Known, Snapshot, SocketOptions, Task, Wish} from "./protocol.d.ts" */

const HIDDEN = 30_000; // ms until a hidden page watches nothing
const LINGER = 5_000; // ms that a connection stays open for nobody
const SLOW = 250; // ms of a first answer; a slow line gets a frame per second
const IDS = 50; // in one message: the longest fit into 16 KB
const TRIES = 20; // heartbeats at which what was not found is asked for again

/** @type {any} */ const world = globalThis;
// A page may load this module twice, by its plain name and by a hashed one.
/** @type {Map<string, ProgressSocket>} */ const sockets = (world[Symbol.for("progress.sockets")] ??= new Map());

/** @param {Snapshot} snapshot @param {Snapshot} [known] */
export const isNewer = (snapshot, known) => !known || snapshot.seq > known.seq;

const absolute = (url = "") => new URL(url, world.location?.href).href.replace(/^ws/, "http");

export class ProgressSocket extends EventTarget {
  /** @type {Map<string, Task>} */ tasks = new Map();
  /** @type {Map<string, Wish>} */ wishes = new Map();
  asleep = false;
  /** @type {Map<string, unknown>} */ told = new Map(); // this server: of a task its token, of a wish its message
  /** @type {Set<string>} */ #changed = new Set();
  /** @type {?Fallback} */ #fallback = null;
  /** @type {any} */ #lingering;
  /** @type {any} */ #hiding;
  #flushing = false;
  #slow = false;
  #opened = 0; // until its first heartbeat; it may have another clock, after a fail-over
  #ahead = NaN; // ms that the server's clock is ahead of ours

  /** @param {string} url @param {{http?: ?string}} [options] */
  static shared(url, { http } = {}) {
    const full = absolute(url);
    const socket = sockets.get(full) ?? new ProgressSocket({ url: full });
    if (http) socket.http = absolute(http);
    sockets.set(full, socket);
    return socket;
  }

  /** @param {string} url @param {ProgressSocket} socket */
  static provide(url, socket) {
    sockets.set(absolute(url), socket);
  }

  /** @param {SocketOptions} options */
  constructor({ url, host = world }) {
    super();
    const full = absolute(url);
    this.http = full.replace("/ws/progress/", "/progress/");
    this.host = host;
    this.connection = connect(full.replace("http", "ws"), host, this);
    const { document } = host;
    const look = () => {
      host.clearTimeout(this.#hiding);
      if (document?.visibilityState === "hidden") this.#hiding = host.setTimeout(() => this.#sleep(true), HIDDEN);
      else if (this.asleep) this.#sleep(false);
    };
    document?.addEventListener("visibilitychange", look);
    look();
  }

  get state() {
    return this.#fallback?.live ? "live" : this.connection.state;
  }

  get transport() {
    return this.#fallback?.live ? this.#fallback.transport : "websocket";
  }

  get serverTime() {
    return this.#ahead ? this.#ahead + this.host.performance.now() : null;
  }

  /** @param {string} id @returns {Known} */
  task(id) {
    return this.tasks.get(id) ?? { may: [] };
  }

  /** @param {string} id @param {{token?: ?string, whileHidden?: boolean}} [options] */
  watch(id, { token, whileHidden = false } = {}) {
    const task = this.#task(id);
    task.watchers += 1;
    task.token = token || task.token;
    task.whileHidden ||= whileHidden;
    this.change(id);
  }

  /** @param {string} id */
  unwatch(id) {
    const task = this.tasks.get(id);
    if (task?.watchers) task.watchers -= 1;
    this.change(id);
  }

  /** @param {Snapshot} snapshot */
  merge(snapshot) {
    const task = this.#task(snapshot.id);
    if (!isNewer(snapshot, task.snapshot)) return false;
    task.snapshot = snapshot;
    this.#tell("snapshot", snapshot);
    this.#tell(`task:${snapshot.id}`);
    return true;
  }

  connect() {
    this.connection.dial();
  }

  close() {
    this.#endFallback();
    this.connection.close();
  }

  #endFallback() {
    this.#fallback?.end();
    this.#fallback = null;
  }

  // --- What is wanted, and what the server was told

  /** ms between two frames */
  get every() {
    return this.asleep ? 5_000 : this.#slow || this.host.navigator?.connection?.saveData ? 1_000 : 250;
  }

  /** @param {Task} [task] */
  wants(task) {
    return !!task?.watchers && (task.whileHidden || !this.asleep);
  }

  get busy() {
    return (!this.asleep && this.wishes.size > 0) || [...this.tasks.values()].some(this.wants, this);
  }

  /** @param {string} id @returns {Task} */
  #task(id) {
    const task = this.tasks.get(id) ?? { may: [], watchers: 0, token: "", whileHidden: false, tries: 0 };
    this.tasks.set(id, task);
    return task;
  }

  /** @param {boolean} asleep */
  #sleep(asleep) {
    this.asleep = asleep;
    this.connection.send({ type: "unwatch", all: true });
    this.begin();
    if (!this.busy) this.close();
  }

  begin() {
    this.told.clear();
    for (const [id, task] of this.tasks) {
      task.tries = 0;
      this.#changed.add(id);
    }
    this.change();
  }

  /** @param {string} [id] */
  change(id) {
    if (id) this.#changed.add(id);
    if (this.#flushing) return;
    this.#flushing = true;
    // At the end of this turn: an element that is moved costs nothing, fifty that are inserted one message.
    queueMicrotask(() => this.#flush());
  }

  #flush() {
    const { busy, connection, host } = this;
    this.#flushing = false;
    host.clearTimeout(this.#lingering);
    if (!busy) this.#lingering = host.setTimeout(() => this.close(), LINGER);
    else if (connection.idle) connection.dial();
    const ids = [...this.#changed];
    this.#changed.clear();
    if (connection.open) this.#inform(ids);
    this.#fallback?.renew();
    for (const id of ids) if (!this.wishes.size && !this.tasks.get(id)?.watchers) this.tasks.delete(id);
  }

  /** @param {string[]} ids */
  #inform(ids) {
    const watch = { type: "watch", every_ms: this.every };
    /** @type {Map<string | undefined, string[]>} */
    const groups = new Map([[undefined, []]]); // what is given up comes first and makes room
    for (const id of ids) {
      const task = this.tasks.get(id);
      const token = this.wants(task) ? task?.token : undefined;
      if (this.told.get(id) === token) continue;
      if (token === undefined) this.told.delete(id);
      else this.told.set(id, token);
      groups.set(token, [...(groups.get(token) ?? []), id]);
    }
    for (const [token, all] of groups) {
      const what = token === undefined ? { type: "unwatch" } : token ? { ...watch, token } : watch;
      for (let at = 0; at < all.length; at += IDS) this.connection.send({ ...what, ids: all.slice(at, at + IDS) });
    }
    for (const [name, message] of this.asleep ? [] : this.wishes) {
      if (!this.told.has(name)) this.connection.send(message.type ? message : { ...watch, ...message });
      this.told.set(name, message);
    }
  }

  // --- From the connection

  opened() {
    this.#opened = this.host.performance.now();
    this.#slow = false;
    this.begin();
    this.#flush();
  }

  changed() {
    if (this.connection.state === "live") this.#endFallback();
    this.#tell("state", this.state);
  }

  async blocked() {
    const loaded = await import("./fallback.js").catch(() => null); // else after the next dial
    if (loaded && this.busy && this.connection.state !== "live") this.#fallback ??= new loaded.Fallback(this);
  }

  /** @param {string} text */
  received(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // the next one is whole again
    }
    this.take(frame);
  }

  /** @param {any} frame of the server, over whatever it came */
  take(frame) {
    const { type, at, items, ids, code, ref } = frame;
    this.#setClock(Date.parse(at) - this.host.performance.now());
    if (type === "snapshots") {
      // Those that were under way when a task was unwatched are late.
      for (const each of items) if (this.wishes.size || this.task(each.id).watchers) this.merge(each);
    } else if (type === "watching") for (const { id, may } of items) this.#know(id, { may, refused: undefined });
    else if (type === "refused" && !ref) for (const id of ids) this.#know(id, { refused: code });
    else if (type === "closing") this.connection.dictate(frame.retry_ms);
    else if (type === "heartbeat") this.#onHeartbeat();
    this.#tell(type, frame);
  }

  /** @param {string} id @param {object} news */
  #know(id, news) {
    Object.assign(this.task(id), news);
    this.#tell(`task:${id}`);
  }

  #onHeartbeat() {
    if (this.#opened && this.host.performance.now() - this.#opened > SLOW) {
      this.#slow = true;
      const [any] = this.told.keys();
      this.told.delete(any);
      this.change(any);
    }
    this.#opened = 0;
    // What was not found may yet come, or come back: its worker tells a Redis that lost its data again.
    for (const [id, task] of this.tasks) {
      if (!task.watchers && task.snapshot?.final) this.tasks.delete(id); // one's own of long ago
      if (!["not_found", "too_many"].includes(task.refused ?? "") || ++task.tries > TRIES) continue;
      this.told.delete(id);
      this.told.delete(`logs ${id}`);
      this.change(id);
    }
  }

  /** @param {number} ahead The greatest is of the frame that was under way for the shortest time. */
  #setClock(ahead) {
    if (ahead) this.#ahead = this.#ahead > ahead && !this.#opened ? this.#ahead : ahead;
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
