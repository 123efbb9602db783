/**
 * Snapshots over plain HTTP, while no WebSocket works: a stream of Server-Sent Events, else polling.
 *
 * It takes the place of the connection only: what it hears goes to the socket as if it had come that way. The socket
 * ends it as soon as it is heard itself.
 */

import { events } from "./event-stream.js";

/** @typedef {import("./progress-socket.js").ProgressSocket} ProgressSocket */
/** @typedef {import("./protocol.d.ts").Fallback} Carrier */
/** @typedef {{token: string, ids: string[], mine: boolean}} Request */

const FIRST = 4_000; // ms for a stream's first event; one that is later is held up by a proxy
const SILENCE = 25_000; // ms without any event; heartbeats come every 10 s
const POLL = 2_000; // ms
const SLOWEST = 10_000; // ms between two requests, when all has ended or while they fail
const IDS = 50; // in one address

/** @implements {Carrier} */
export class Fallback {
  live = false;
  /** @type {"sse" | "polling"} */ transport = "sse";
  #streams = true; // as far as we know
  #over = false; // nothing more is expected
  /** @type {Map<string, string>} */ #tags = new Map(); // address and token → ETag
  /** @type {?AbortController} */ #run = null; // the request under way
  /** @type {any} */ #timer;
  #ended = new AbortController();
  #wanted = "";
  #failures = 0;

  /** @param {ProgressSocket} socket */
  constructor(socket) {
    this.socket = socket;
    // An open request keeps a page out of the back/forward cache.
    socket.host.window?.addEventListener("pagehide", () => socket.close(), { signal: this.#ended.signal });
    this.renew();
  }

  renew() {
    const wanted = JSON.stringify(this.#requests());
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#over = false;
    this.#tags.clear();
    this.#begin(0);
  }

  end() {
    this.socket.host.clearTimeout(this.#timer);
    this.#run?.abort();
    this.#run = null;
    this.#ended.abort();
    this.live = false;
  }

  /** One for each token, and for each fifty tasks. */
  #requests() {
    const { socket } = this;
    const mine = !socket.asleep && socket.wishes.has("mine");
    /** @type {Map<string, string[]>} */
    const watched = new Map(mine ? [["", []]] : []);
    for (const [id, task] of socket.tasks) {
      if (socket.wants(task)) watched.set(task.token, [...(watched.get(task.token) ?? []), id]);
    }
    /** @type {Request[]} */
    const requests = [];
    for (const [token, ids] of watched) {
      for (let at = 0; at === 0 || at < ids.length; at += IDS) {
        requests.push({ token, ids: ids.slice(at, at + IDS), mine: mine && !token && at === 0 });
      }
    }
    return requests;
  }

  /** @param {number} wait */
  #begin(wait) {
    const { setTimeout, clearTimeout } = this.socket.host;
    clearTimeout(this.#timer);
    this.#run?.abort();
    const run = (this.#run = new AbortController());
    this.#timer = setTimeout(async () => {
      const next = await this.#ask(run.signal);
      if (run === this.#run) this.#begin(next);
    }, wait);
  }

  /** @param {AbortSignal} signal @returns {Promise<number>} ms until the next time. */
  async #ask(signal) {
    const requests = this.#requests();
    // A browser has six connections for one host, and other tabs want some of them: so one stream, or none.
    const stream = this.#streams && requests.length === 1 && !this.#over;
    this.transport = stream ? "sse" : "polling";
    try {
      let wait;
      if (stream) wait = await this.#stream(requests[0], signal);
      else await Promise.all(requests.map((request) => this.#poll(request, signal)));
      this.#failures = 0;
      const all = requests.flatMap(({ ids }) => ids).map((id) => this.socket.task(id));
      this.#over = all.every(({ snapshot, refused }) => refused || snapshot?.final) && !requests.some(({ mine }) => mine);
      return wait ?? (this.#over ? SLOWEST : Math.max(POLL, this.socket.every));
    } catch {
      if (signal.aborted) return SLOWEST;
      if (stream && !this.live) {
        this.#streams = false;
        return 0;
      }
      this.#become(false);
      this.#failures += 1;
      return Math.min(SLOWEST, POLL * 2 ** (this.#failures - 1)) * (0.5 + this.socket.host.Math.random() / 2);
    }
  }

  /** @param {Request} request @param {AbortSignal} signal @returns {Promise<number | undefined>} What the server said of coming back, ms. */
  async #stream(request, signal) {
    const { setTimeout, clearTimeout } = this.socket.host;
    const silent = new AbortController();
    /** @type {any} */ let timer;
    const listen = (/** @type {number} */ wait) => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), wait);
    };
    listen(FIRST);
    try {
      const answer = await this.#fetch(request, AbortSignal.any([signal, silent.signal]), { Accept: "text/event-stream" });
      const type = answer.headers.get("Content-Type") ?? "none";
      if (!answer.ok || !answer.body || !type.startsWith("text/event-stream")) {
        throw new TypeError(`Expected an event stream, got ${answer.status} ${type}`);
      }
      let wait;
      for await (const { event, data, retry } of events(answer.body)) {
        listen(SILENCE);
        wait = retry ?? wait;
        if (data === undefined) continue;
        const said = JSON.parse(data);
        this.#hear(event === "snapshot" ? { type: "snapshots", items: [said] } : said);
      }
      return wait;
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {Request} request @param {AbortSignal} signal */
  async #poll(request, signal) {
    const name = JSON.stringify(request);
    const tag = this.#tags.get(name);
    const answer = await this.#fetch(request, AbortSignal.any([signal, AbortSignal.timeout(SLOWEST)]), {
      Accept: "application/json",
      ...(tag && { "If-None-Match": tag }),
    });
    if (answer.status === 304) return this.#become(true);
    if (!answer.ok) throw new TypeError(`Expected snapshots, got ${answer.status}`);
    const { at, items, watching } = await answer.json();
    this.#tags.set(name, answer.headers.get("ETag") ?? "");
    this.#hear({ type: "watching", items: watching });
    const there = new Set(watching.map((/** @type {{id: string}} */ { id }) => id));
    const refused = request.ids.filter((id) => !there.has(id));
    if (refused.length) this.#hear({ type: "refused", ids: refused, code: "not_found" });
    this.#hear({ type: "snapshots", at, items });
  }

  /** @param {Request} request @param {AbortSignal} signal @param {Record<string, string>} headers */
  #fetch({ token, ids, mine }, signal, headers) {
    const query = new URLSearchParams(ids.map((id) => ["id", id]));
    if (mine) query.set("mine", "1");
    if (this.transport === "sse") query.set("every_ms", String(this.socket.every));
    return this.socket.host.fetch(`${this.socket.http}?${query}`, {
      headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) },
      cache: "no-store",
      signal,
    });
  }

  /** @param {object} frame */
  #hear(frame) {
    this.#become(true);
    this.socket.take(frame);
  }

  /** @param {boolean} live */
  #become(live) {
    if (live === this.live) return;
    this.live = live;
    this.socket.changed();
  }
}
