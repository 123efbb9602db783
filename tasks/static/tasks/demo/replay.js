/**
 * Connections that play what was recorded, so that the page of examples shows every state and every time the same:
 * no server is asked, and the clock stands still. The elements are the real ones, and so is `ProgressSocket`.
 */

import { ProgressSocket } from "../../progress/progress-socket.js";

/** @typedef {import("../../progress/protocol.d.ts").Snapshot} Snapshot */
/** @typedef {{at: string, snapshots: Record<string, Snapshot>, logs: Record<string, any[]>, trees: Record<string, any>}} Recorded */

const FEW = ["running", "unknown", "waiting", "failed", "done"];
const MANY = 500; // rows
const MAY = ["watch", "cancel"];
const CANCELLING = ["live", "unsent"]; // connections whose viewer may

/** Time passes only when it is told to, and only then a timer fires. */
class Clock {
  time = 0; // ms
  /** @type {Map<number, {due: number, call: () => void}>} */ #timers = new Map();
  #last = 0;

  now = () => this.time;

  /** @param {() => void} call @param {number} ms */
  setTimeout = (call, ms) => {
    this.#timers.set((this.#last += 1), { due: this.time + ms, call });
    return this.#last;
  };

  /** @param {number} timer */
  clearTimeout = (timer) => this.#timers.delete(timer);

  /** @param {number} ms */
  pass(ms) {
    for (const end = this.time + ms; this.time < end; this.time += 500) {
      const due = [...this.#timers].filter(([, timer]) => timer.due <= this.time);
      for (const [id, { call }] of due) if (this.#timers.delete(id)) call();
    }
  }
}

/** What the server of one connection does. */
class Server {
  /** @type {((frame: object) => void)[]} */ #pages = [];
  /** @type {Map<string, Snapshot>} */ #changed = new Map();
  silent = false;

  /** @param {string} name @param {Recorded} recorded */
  constructor(name, recorded) {
    this.name = name;
    this.recorded = recorded;
    this.mine = name === "few" ? FEW.map((id) => this.snapshot(id)) : name === "many" ? manyOf(recorded) : [];
  }

  /** @param {string} id */
  snapshot(id) {
    return this.#changed.get(id) ?? this.mine?.find((each) => each.id === id) ?? this.recorded.snapshots[id];
  }

  /** @param {(frame: object) => void} say */
  join(say) {
    this.#pages.push(say);
  }

  /** @param {object} frame */
  say(frame) {
    for (const say of this.#pages) say({ at: this.recorded.at, ...frame });
  }

  /** @param {Snapshot} snapshot */
  change(snapshot) {
    this.#changed.set(snapshot.id, snapshot);
    this.say({ type: "snapshots", items: [snapshot] });
  }

  /** @param {any} message */
  answer({ type, ids = [], id, mine, tree, ref }) {
    if (this.silent) return;
    if (type === "ping") this.say({ type: "heartbeat" });
    else if (type === "logs") this.#logs(id, ref);
    else if (type === "watch" && mine) this.#show(this.mine.map((each) => each.id));
    else if (type === "watch" && tree) this.#tree(tree);
    else if (type === "watch") this.#show(ids);
  }

  /** @param {string[]} ids */
  #show(ids) {
    const known = ids.filter((each) => this.snapshot(each));
    const unknown = ids.filter((each) => !this.snapshot(each));
    if (unknown.length) this.say({ type: "refused", ids: unknown, code: "not_found" });
    this.say({ type: "watching", items: known.map((id) => ({ id, may: CANCELLING.includes(this.name) ? MAY : ["watch"], until: null })) });
    this.say({ type: "snapshots", items: known.map((each) => this.snapshot(each)) });
  }

  /** @param {string} tree */
  #tree(tree) {
    const frame = this.recorded.trees[tree];
    this.#show(frame.members);
    this.say(frame);
  }

  /** @param {string} id @param {string} ref */
  #logs(id, ref) {
    if (this.name === "stranger") return this.say({ type: "refused", ids: [id], code: "not_allowed", ref });
    // Newer lines come when somebody has scrolled up: see `scrollUp`.
    const frames = this.recorded.logs[id] ?? [];
    for (const frame of this.name === "paused" ? frames.slice(0, 1) : frames) this.say(frame);
  }

  /** @param {string} id */
  moreLines(id) {
    for (const frame of this.recorded.logs[id].slice(1)) this.say(frame);
  }
}

/** @param {Recorded} recorded @returns {Snapshot[]} */
function manyOf({ at, snapshots }) {
  const names = ["running", "stages", "waiting", "done", "second-attempt", "failed", "cancelled"];
  return Array.from({ length: MANY }, (_, number) => {
    const like = snapshots[names[number % names.length]];
    const queued = new Date(Date.parse(at) - number * 60_000).toISOString();
    return { ...like, id: `many-${number}`, title: `${like.title} (${MANY - number})`, queued_at: queued };
  });
}

/**
 * A connection of this name, in the state that the name says.
 * @param {string} url
 * @param {string} name
 * @param {Recorded} recorded
 */
function connect(url, name, recorded) {
  const clock = new Clock();
  const server = new Server(name, recorded);
  const never = name.startsWith("connecting");

  class WebSocket {
    readyState = 0;
    /** @type {?() => void} */ onopen = null;
    /** @type {?(event: {data: string}) => void} */ onmessage = null;
    /** @type {?(event: {code: number}) => void} */ onclose = null;

    constructor() {
      if (never || server.silent) return;
      server.join((frame) => queueMicrotask(() => this.readyState === 1 && this.onmessage?.({ data: JSON.stringify(frame) })));
      queueMicrotask(() => {
        this.readyState = 1;
        this.onopen?.();
      });
    }

    /** @param {string} text */
    send(text) {
      server.answer(JSON.parse(text));
    }

    close() {
      this.readyState = 3;
    }

    /** @param {number} code */
    end(code) {
      this.readyState = 3;
      this.onclose?.({ code });
    }
  }

  /** @type {WebSocket[]} */ const made = [];
  const Made = class extends WebSocket {
    constructor() {
      super();
      made.push(this);
    }
  };
  /** Somebody pressed "Cancel". @param {any} address */
  const fetch = async (address) => {
    if (name === "unsent") throw new TypeError("The network is away.");
    const id = decodeURIComponent(String(address).split("/").at(-3) ?? "");
    const before = server.snapshot(id);
    server.change({ ...before, seq: before.seq + 1, cancel_requested: true });
    return new Response("{}", { status: 202 });
  };
  const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const { now, setTimeout, clearTimeout } = clock;
  const [performance, Math] = [{ now }, { random: () => 0.9 }];
  const host = { WebSocket: Made, fetch, performance, Math, setTimeout, clearTimeout, window: page, document: page };
  const socket = new ProgressSocket({ url, host: /** @type {any} */ (host) });
  const breakdown = () => {
    server.silent = true;
    if (name === "stale") clock.pass(36_000);
    if (name === "offline" || name === "unsent") made[0]?.end(1006);
    if (name === "refused") made[0]?.end(4401);
    if (name === "offline" || name === "unsent") clock.time += 12_000; // and no timer fires any more
    socket.dispatchEvent(new CustomEvent("state"));
  };
  return { socket, server, breakdown };
}

/**
 * Put replaying connections in place for all elements of the page, and return them by name.
 * @param {string} base the address below which the elements believe their connections to be
 * @param {string} recording
 */
export async function replay(base, recording) {
  const answer = await fetch(recording);
  /** @type {Recorded} */ const recorded = await answer.json();
  const names = ["live", "connecting", "connecting-anew", "stale", "offline", "refused", "few", "none", "many", "paused", "stranger", "unsent"];
  return new Map(
    names.map((name) => {
      const url = new URL(`${name}/`, new URL(base, location.href)).href;
      const made = connect(url, name, recorded);
      ProgressSocket.provide(url, made.socket);
      return [name, made];
    }),
  );
}
