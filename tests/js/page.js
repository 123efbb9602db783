/** What the socket needs of a browser, under the test's control: time, timers, WebSockets, page events. */

import { ProgressSocket } from "../../progress/static/progress/progress-socket.js";

export const URL_ = "ws://test/ws/progress/";

/** Time that passes when the test says so. Timers may be held back, as browsers do in hidden tabs. */
export class Clock {
  time = 1_000_000;
  #timers = new Map();
  #last = 0;

  now = () => this.time;

  setTimeout = (call, ms) => {
    this.#last += 1;
    this.#timers.set(this.#last, { due: this.time + Math.max(0, ms), call });
    return this.#last;
  };

  clearTimeout = (timer) => this.#timers.delete(timer);

  get pending() {
    return this.#timers.size;
  }

  /** Let `ms` pass; timers fire when they are due. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      const [id, next] = [...this.#timers].sort(([, a], [, b]) => a.due - b.due)[0] ?? [];
      if (!next || next.due > end) break;
      this.#timers.delete(id);
      this.time = Math.max(this.time, next.due);
      next.call();
      await settled();
    }
    this.time = end;
  }

  /** Let `ms` pass while the page stands still: what is due fires late, at the end, before any message. */
  async freeze(ms) {
    this.time += ms;
    for (const [id, { due, call }] of [...this.#timers]) {
      if (due > this.time || !this.#timers.delete(id)) continue;
      call();
    }
    await settled();
  }
}

/** A WebSocket whose other end is the test. `respond` may answer each message as a server would. */
export class FakeWebSocket {
  static made = [];
  static respond = (_socket, _message) => {};

  readyState = 0;
  sent = [];
  closedWith = null;

  constructor(url) {
    this.url = url;
    FakeWebSocket.made.push(this);
  }

  send(text) {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    const message = JSON.parse(text);
    this.sent.push(message);
    FakeWebSocket.respond(this, message);
  }

  close(code) {
    this.readyState = 3;
    this.closedWith = code ?? null;
  }

  /** The server accepts. */
  open() {
    this.readyState = 1;
    this.onopen?.({});
    return this;
  }

  /** The server says something. */
  say(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
    return this;
  }

  /** The connection ends with a code. */
  end(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  /** What was sent, of one type. */
  of(type) {
    return this.sent.filter((message) => message.type === type);
  }
}

/** Answers pings, as every healthy server does. */
export function answerPings(socket, { type }) {
  if (type === "ping") socket.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
}

const unreachable = async () => {
  throw new TypeError("Failed to fetch");
};

/** A socket in a fake page. */
export function page({ respond = answerPings, random = () => 0.5, fetch = unreachable, visibilityState = "visible" } = {}) {
  FakeWebSocket.made = [];
  FakeWebSocket.respond = respond;
  const clock = new Clock();
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState });
  const host = {
    WebSocket: FakeWebSocket,
    Math: { random },
    fetch,
    window,
    document,
    performance: { now: clock.now },
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
  };
  const socket = new ProgressSocket({ url: URL_, host });
  return {
    clock,
    window,
    document,
    socket,
    /** All WebSockets that were made, and the newest. */
    made: FakeWebSocket.made,
    get wire() {
      return FakeWebSocket.made.at(-1);
    },
  };
}

/** Let microtasks run. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

let seq = 1_763_645_023_000_000;

/** A snapshot with a higher seq than any before. */
export function snapshot(changes = {}) {
  seq += 1;
  return {
    v: 1,
    id: "a",
    seq,
    attempt: 1,
    run: 1,
    name: "tasks.import_csv",
    title: "Import customers.csv",
    state: "PROGRESS",
    final: false,
    current: 630,
    total: 1000,
    unit: "rows",
    fraction: 0.63,
    message: "Reading rows",
    rate: 210,
    queued_at: "2026-01-01T00:00:00.000Z",
    started_at: "2026-01-01T00:00:01.000Z",
    updated_at: "2026-01-01T00:00:04.000Z",
    finished_at: null,
    retries: 0,
    max_retries: 3,
    scheduled_for: null,
    ...changes,
  };
}

export const frame = (...items) => ({ type: "snapshots", at: "2026-01-01T00:00:05.000Z", items });
