/** A WebSocket that never gives up. It knows nothing of tasks; `progress-socket.js` gives it meaning. */

/** @typedef {import("./protocol.d.ts").SocketState} SocketState */
/** @typedef {import("./protocol.d.ts").Surroundings} Surroundings */

const SILENCE = 35_000; // ms; two of the server's heartbeats (15 s) and some
const PONG = 3_000; // ms; for an answer to a ping
const DIAL = 10_000; // ms; for a connection to open
const LATE = 1_000; // ms; a timer that is later than this proves that the page stood still
const LIVED = 5_000; // ms; a connection that ends sooner was no success

/** Protocol error, session ended, bad origin: the same again would be the same again. */
const FINAL_CODES = [4400, 4401, 4403];
const NOTHING_HERE = 4404;
const NOTHING_HERE_TRIES = 3;

/**
 * Milliseconds before dial number `attempt` (0 = the first after a loss): 0.5 to 30 s, full jitter.
 *
 * The window is 6 s wide from the start, so that pages which lose one server together do not return together.
 * It grows from the fifth dial on only: most outages are short, and somebody is looking.
 * @param {number} attempt
 * @param {() => number} random 0 ≤ random() < 1
 */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(30_000, 6_000 * 2 ** Math.max(0, Math.min(attempt, 9) - 3));
  return 500 + random() * (ceiling - 500);
}

export class Connection {
  /** @type {SocketState} */ state = "connecting";
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {any} */ #timer; // one at a time: for the dial, silence, a ping, or the next dial
  /** @type {number | undefined} */ #dictated; // ms to wait, told by the server before it closed
  #attempt = 0;
  #misses = 0; // dials in a row that ended in 4404
  #frames = 0;
  #heard = 0;
  #opened = Infinity;
  #notBefore = 0;

  /**
   * @param {string} url
   * @param {{opened(): void, received(text: string): void, changed(): void, wanted(): boolean}} owner
   * @param {Surroundings} surroundings
   */
  constructor(url, owner, surroundings) {
    const { window, document, ...given } = { ...globals(), ...surroundings };
    this.url = url;
    this.owner = owner;
    this.host = given;
    this.#attend(window, document);
  }

  get open() {
    return this.#socket?.readyState === 1;
  }

  /** True while nothing is under way: no connection, no dial, no plan for one. */
  get idle() {
    return !this.#socket && this.#timer === undefined && this.state !== "refused";
  }

  /** @param {object} message @returns {boolean} False if there is no connection. */
  send(message) {
    if (this.open) this.#socket?.send(JSON.stringify(message));
    return this.open;
  }

  /** The server will close, and wants to see us again in so many ms. @param {number | undefined} wait */
  dictate(wait) {
    this.#dictated = wait;
  }

  /** @param {SocketState} [state] */
  close(state = "connecting") {
    this.#drop(1000);
    this.#become(state);
  }

  dial() {
    this.#drop();
    if (this.state === "refused") this.#become("connecting");
    try {
      /** @type {WebSocket} */
      const socket = new this.host.WebSocket(this.url);
      socket.onopen = () => socket === this.#socket && this.#onOpen();
      socket.onmessage = (event) => socket === this.#socket && this.#onMessage(event.data);
      socket.onclose = (event) => socket === this.#socket && this.#lost(event.code);
      this.#socket = socket;
    } catch {
      return this.#lost(); // forbidden by a policy of the page
    }
    this.#judgeAfter(DIAL, () => this.open, () => this.#lost());
  }

  /** Is anybody there? If not, within 3 s, dial again. */
  ping() {
    const before = this.#frames;
    if (!this.send({ type: "ping" })) return;
    this.#judgeAfter(PONG, () => this.#frames > before, () => {
      this.dial();
      this.#become("offline");
    });
  }

  #onOpen() {
    this.#opened = this.#heard = this.host.now();
    this.#dictated = undefined;
    this.owner.opened();
    this.ping(); // so that the server is heard at once, whatever is watched
  }

  /** @param {string} text */
  #onMessage(text) {
    this.#heard = this.host.now();
    this.#frames += 1;
    this.#become("live");
    this.owner.received(text);
  }

  /** Silence is judged by what the server sent, never by own ticks: those are late in hidden tabs. */
  #awaitSilence() {
    this.#arm(this.#heard + SILENCE - this.host.now(), () => {
      if (this.host.now() - this.#heard < SILENCE) return this.#awaitSilence();
      this.#become("stale");
      this.ping();
    });
  }

  /** @param {number} [code] */
  #lost(code = 0) {
    if (this.host.now() - this.#opened >= LIVED) this.#attempt = 0;
    const dictated = this.#dictated;
    this.#drop();
    this.#misses = code === NOTHING_HERE ? this.#misses + 1 : 0;
    if (FINAL_CODES.includes(code) || this.#misses >= NOTHING_HERE_TRIES) return this.#become("refused");
    const random = this.host.random;
    // Three tries in 5 s, or the usual wait.
    const usual = this.#misses ? 1_000 + random() * 1_000 : backoff(this.#attempt++, random);
    this.#notBefore = dictated === undefined ? 0 : this.host.now() + dictated;
    this.#arm(dictated ?? usual, () => this.dial());
    this.#become("offline");
  }

  /** @param {number} [code] */
  #drop(code) {
    this.host.clearTimeout(this.#timer);
    this.#timer = this.#dictated = undefined;
    this.#opened = Infinity;
    const socket = this.#socket;
    this.#socket = null; // its handlers are deaf from here on
    if (socket && socket.readyState < 2) socket.close(code);
  }

  /**
   * A late timer proves that the page stood still, not that the server did: what it waits for may be next in
   * the queue. So one that is late asks once more.
   * @param {number} ms
   * @param {() => boolean} well
   * @param {() => void} otherwise
   */
  #judgeAfter(ms, well, otherwise) {
    /** @param {boolean} late */
    const judge = (late) => {
      if (well()) this.#awaitSilence();
      else if (late) this.#arm(PONG, () => judge(false));
      else otherwise();
    };
    this.#arm(ms, judge);
  }

  /** @param {number} ms @param {(late: boolean) => void} call */
  #arm(ms, call) {
    this.host.clearTimeout(this.#timer);
    const due = this.host.now() + ms;
    this.#timer = this.host.setTimeout(() => {
      this.#timer = undefined;
      call(this.host.now() - due > LATE);
    }, ms);
  }

  /** @param {EventTarget} [window] @param {EventTarget & {visibilityState?: string}} [document] */
  #attend(window, document) {
    const wake = () => {
      if (this.state === "refused" || !this.owner.wanted()) return;
      if (this.open) this.ping();
      else if (!this.#socket && this.host.now() >= this.#notBefore) this.dial();
    };
    for (const name of ["online", "offline", "pageshow"]) window?.addEventListener(name, wake);
    document?.addEventListener("resume", wake);
    document?.addEventListener("visibilitychange", () => document.visibilityState === "hidden" || wake());
    // An open socket keeps a page out of the back/forward cache, or is cut there without a word.
    window?.addEventListener("pagehide", () => this.state === "refused" || this.close("offline"));
  }

  /** @param {SocketState} state */
  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.owner.changed();
  }
}

/** What a browser has to offer. @returns {any} */
function globals() {
  const { WebSocket, window, document } = /** @type {any} */ (globalThis);
  return {
    WebSocket,
    window,
    document,
    random: Math.random,
    now: () => performance.now(),
    // Called as functions of their own, which browsers insist on.
    setTimeout: (/** @type {any} */ call, /** @type {number} */ ms) => setTimeout(call, ms),
    clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
  };
}
