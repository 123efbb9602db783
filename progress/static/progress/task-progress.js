/**
 * `<task-progress task-id="…">` shows a task. It has no network of its own: `progress-socket.js` has.
 *
 * Attributes: `task-id` (as `progress.key()` gives it), `token` (a watch token), `socket` (address of the
 * WebSocket, else /ws/progress/), `href` (makes the title a link), `heading` (level, makes it a heading),
 * `compact`, `snapshot` (JSON; the state that the page was rendered with). What stands inside of it is shown
 * where there is no JavaScript.
 *
 * Events, with the snapshot in `detail`: `task-progress:change` when something new is shown, and
 * `task-progress:end` once per execution whose end came to be known after the page was rendered.
 *
 * It has a shadow root, because it is a guest in other people's pages: their style sheets and whoever swaps
 * their mark-up (htmx, morphing) leave it alone. Texts are set as text, never parsed.
 */

import { ProgressSocket } from "./progress-socket.js";
import { build } from "./task-progress-look.js";
import * as words from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */

const SPEAK_EVERY = 5_000; // ms between two announcements on a page, but for ends
const NOTE_FOR = 10_000; // ms
const BLANK = /** @type {const} */ (["percent", "count", "pace", "text", "outcome"]); // without a snapshot

/** @type {Set<TaskProgress>} */ const connected = new Set();
/** @type {Set<TaskProgress>} */ const unpainted = new Set();
/** @type {number | undefined} */ let ticker;
let spoken = -SPEAK_EVERY;

/** What changed is painted in one frame of the screen, however much came. @param {TaskProgress} element */
function paintSoon(element) {
  if (!unpainted.size) requestAnimationFrame(paintAll);
  unpainted.add(element);
}

function paintAll() {
  const elements = [...unpainted];
  unpainted.clear();
  for (const element of elements) element.paint();
}

/** Ages grow while nothing comes. @param {TaskProgress} element @param {boolean} on */
function tick(element, on) {
  connected[on ? "add" : "delete"](element);
  if (connected.size && ticker === undefined) {
    ticker = window.setInterval(() => connected.forEach(paintSoon), 1_000);
  } else if (!connected.size) {
    clearInterval(ticker);
    ticker = undefined;
  }
}

export class TaskProgress extends HTMLElement {
  static observedAttributes = ["task-id", "token", "socket", "href"];

  static define(name = "task-progress") {
    if (!customElements.get(name)) customElements.define(name, this);
  }

  /** @type {?import("./task-progress-look.js").Parts} */ #parts = null;
  /** @type {?ProgressSocket} */ #socket = null;
  #id = "";
  #seq = 0; // of what is painted
  #ended = ""; // the execution whose end was told, or known when the page was rendered
  #note = "";
  #noteUntil = 0;
  #said = "";

  #onTask = () => {
    this.#tellEnd();
    paintSoon(this);
  };

  #onState = () => paintSoon(this);

  get taskId() {
    return this.getAttribute("task-id") ?? "";
  }

  set taskId(id) {
    this.setAttribute("task-id", id);
  }

  /** The newest snapshot, if there is one yet. @returns {Snapshot | undefined} */
  get snapshot() {
    return this.#socket?.task(this.#id).snapshot;
  }

  connectedCallback() {
    if (!this.#parts) {
      this.#parts = build(this);
      this.#parts.cancel.addEventListener("click", () => this.#cancel());
    }
    this.#open();
    tick(this, true);
  }

  disconnectedCallback() {
    tick(this, false);
    unpainted.delete(this);
    this.#close();
  }

  /** @param {string} name @param {?string} before @param {?string} now */
  attributeChangedCallback(name, before, now) {
    if (!this.#socket || before === now) return;
    if (name === "task-id") [this.#ended, this.#said, this.#seq] = ["", "", 0];
    this.#close();
    this.#open();
  }

  #open() {
    this.#id = this.taskId;
    if (!this.#id) return;
    this.#socket = ProgressSocket.shared(this.getAttribute("socket") ?? "/ws/progress/");
    this.#socket.watch(this.#id, { token: this.getAttribute("token") });
    this.#takeRendered(this.#socket);
    this.#socket.addEventListener(`task:${this.#id}`, this.#onTask);
    this.#socket.addEventListener("state", this.#onState);
    this.#onTask();
  }

  #close() {
    this.#socket?.removeEventListener(`task:${this.#id}`, this.#onTask);
    this.#socket?.removeEventListener("state", this.#onState);
    this.#socket?.unwatch(this.#id);
    this.#socket = null;
  }

  /** @param {ProgressSocket} socket */
  #takeRendered(socket) {
    let rendered;
    try {
      rendered = JSON.parse(this.getAttribute("snapshot") ?? "null");
    } catch {
      return;
    }
    if (rendered?.id !== this.#id) return;
    if (rendered.final) this.#ended ||= execution(rendered);
    socket.merge(rendered);
  }

  #tellEnd() {
    const { snapshot } = this;
    if (!snapshot?.final || this.#ended === execution(snapshot)) return;
    this.#ended = execution(snapshot);
    this.#tell("end", snapshot);
  }

  /** @param {string} name @param {Snapshot} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`task-progress:${name}`, { detail, bubbles: true, composed: true }));
  }

  // --- What is seen

  /** Show what is known now. Called once per frame of the screen. */
  paint() {
    const socket = this.#socket;
    const part = this.#parts;
    if (!socket || !part) return;
    const { snapshot: s, may, refused } = socket.task(this.#id);
    const at = socket.serverTime;
    if (this.hasAttribute("href")) part.name.href = this.getAttribute("href");
    put(part.age, (part.age.title = this.#age(s, at, refused)));
    part.box.className = `box ${s ? words.mood(s) : "wait"}`;
    part.box.classList.toggle("lost", !!refused || !["live", "connecting"].includes(socket.state));
    if (!s) {
      put(part.name, this.querySelector("[data-title]")?.textContent ?? "Task");
      for (const name of BLANK) put(part[name], "");
      part.bar.removeAttribute("value");
      part.cancel.hidden = true;
      put(part.state, refused ? "not available" : "looking for it");
      return;
    }
    put(part.name, s.title || s.name);
    put(part.percent, words.percentWords(s));
    put(part.count, joined(words.stageWords(s), words.countWords(s), words.partsWords(s)));
    const eta = socket.state === "live" ? words.etaWords(s, at) : "";
    put(part.pace, joined(this.hasAttribute("compact") ? "" : words.rateWords(s), eta));
    put(part.text, (part.text.title = s.message ?? "")); // it may be longer than its place
    put(part.state, words.stateWords(s, at, socket.state === "live"));
    const outcome = s.final ? words.outcomeWords(s) : "";
    put(part.outcome, outcome === s.message ? "" : outcome);
    const fraction = s.fraction ?? (s.state === "SUCCESS" ? 1 : null);
    if (fraction == null) part.bar.removeAttribute("value");
    else part.bar.value = fraction;
    part.cancel.hidden = s.final || s.cancel_requested || s.cancellable === false || !may.includes("cancel");
    this.#speak(s, at);
    if (s.seq !== this.#seq) this.#tell("change", s);
    this.#seq = s.seq;
  }

  /** @param {Snapshot | undefined} s @param {?number} at @param {string} [refused] */
  #age(s, at, refused) {
    if (performance.now() < this.#noteUntil) return this.#note;
    if (refused) return words.refusalWords(refused);
    const { state } = /** @type {ProgressSocket} */ (this.#socket);
    if (!s) return state === "offline" ? "no connection" : "";
    const age = words.ageWords(s, at, state);
    return state === "live" && !this.hasAttribute("compact") ? joined(words.elapsedWords(s, at), age) : age;
  }

  /** To screen readers: seldom while it runs, always at its end. @param {Snapshot} s @param {?number} at */
  #speak(s, at) {
    const text = words.spoken(s, at);
    const first = this.#said === "";
    const due = !this.hasAttribute("compact") && performance.now() - spoken >= SPEAK_EVERY;
    const ends = s.final && this.#said !== text;
    if (text === this.#said || !(first || due || ends)) return;
    this.#said = text;
    if (first) return; // what is there when the page is opened will be read with the page
    spoken = performance.now();
    put(this.#parts?.live, text);
  }

  async #cancel() {
    const { cancel } = /** @type {import("./task-progress-look.js").Parts} */ (this.#parts);
    cancel.disabled = true;
    const answer = await this.#socket?.cancel(this.#id);
    cancel.disabled = false;
    if (!answer || answer === "accepted") return; // the next snapshot says so
    this.#note = words.cancelWords(answer);
    this.#noteUntil = performance.now() + NOTE_FOR;
    put(this.#parts?.live, this.#note);
    paintSoon(this);
  }
}

/** @param {Snapshot} s */
const execution = ({ run, attempt }) => `${run} ${attempt}`;

/** @param {...string} parts */
const joined = (...parts) => parts.filter(Boolean).join(" · ");

/** @param {Node} node @param {string} text */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

TaskProgress.define();
