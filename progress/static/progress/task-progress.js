/** See docs/browser.md. */

import { ProgressSocket } from "./progress-socket.js";
import { build } from "./task-progress-look.js";
import { ageWords, countWords, etaWords, gettext, isPlain, mood, percentWords, spoken, stateWords } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */

const PAUSE = 5_000; // ms
const SLICE = 8; // ms of a frame
const EVERY = 200; // ms
const NOTIFIES = "[notify], [success-url]";
const SPECIAL = `[compact], ${NOTIFIES}`;
const NAMES = "task-id token socket http href heading snapshot compact notify success-url csrf confirm".split(" ");

/** @type {Set<TaskProgress>} */ const connected = new Set();
/** @type {Set<TaskProgress>} */ const unpainted = new Set();
/** @type {any} */ let ticker;
/** @type {any} */ let extras;
let loading = false;
let announced = -PAUSE;
let due = 0;

const refresh = () => connected.forEach((element) => element.handleEvent());

async function load() {
  if (loading) return;
  loading = true;
  try {
    extras = await import("./task-extras.js");
    refresh();
  } catch {
    setTimeout(() => (loading = false), PAUSE);
  }
}

function paint() {
  due = performance.now() + SLICE;
  try {
    for (const element of unpainted) {
      unpainted.delete(element);
      element.paint();
      if (performance.now() > due) break;
    }
  } finally {
    if (unpainted.size) requestAnimationFrame(paint);
    due += EVERY;
  }
}

export class TaskProgress extends HTMLElement {
  static observedAttributes = NAMES;

  static define(name = "task-progress") {
    if (!customElements.get(name)) customElements.define(name, this);
  }

  /** @type {any} */ #parts;
  /** @type {?ProgressSocket} */ #socket = null;
  /** @type {any} */ #id;
  #seq = 0; // painted
  #ended = ""; // execution
  #waited = false;
  #said = "";

  get snapshot() {
    return this.#socket?.task(this.#id).snapshot;
  }

  set snapshot(value) {
    set(this, "snapshot", value);
  }

  connectedCallback() {
    this.#parts ??= build(this);
    connected.add(this);
    ticker ??= setInterval(refresh, 1_000);
    this.#open();
  }

  disconnectedCallback() {
    connected.delete(this);
    unpainted.delete(this);
    if (!connected.size) ticker = clearInterval(ticker);
    extras?.leave(this);
    this.#close();
  }

  connectedMoveCallback() {}

  /** @param {string} _ @param {?string} before @param {?string} now */
  attributeChangedCallback(_, before, now) {
    if (!connected.has(this) || before === now) return;
    this.#close();
    this.#open();
  }

  #open() {
    const [id, token, url, http, href, level, json] = NAMES.map((name) => this.getAttribute(name));
    const { title, name, heading } = this.#parts;
    title.role = level && "heading";
    title.ariaLevel = level;
    if (href === null) name.removeAttribute("href");
    else name.href = href;
    if (id !== this.#id) {
      heading.textContent = this.querySelector("[data-title]")?.textContent || gettext("Task");
      this.#id = id;
      this.#ended = this.#said = "";
      this.#seq = 0;
      this.#waited = false;
    }
    if (!id) return;
    this.#socket = ProgressSocket.shared(url ?? "/ws/progress/", { http });
    this.#socket.watch(id, { token, whileHidden: this.matches(NOTIFIES) });
    this.#socket.addEventListener("state", this);
    this.#socket.addEventListener(`task:${id}`, this);
    try {
      const rendered = JSON.parse(json ?? "");
      if (rendered.id === id) {
        if (rendered.final && this.snapshot?.final !== false) this.#ended = execution(rendered);
        this.#socket.merge(rendered);
      }
    } catch {}
    this.handleEvent();
  }

  #close() {
    this.#socket?.removeEventListener("state", this);
    this.#socket?.removeEventListener(`task:${this.#id}`, this);
    this.#socket?.unwatch(this.#id);
    this.#socket = null;
  }

  handleEvent() {
    if (!this.#socket) return;
    if (!unpainted.size) setTimeout(() => requestAnimationFrame(paint), due - performance.now());
    unpainted.add(this);
    const { snapshot: s, may, refused } = this.#socket.task(this.#id);
    if (s && !s.final) this.#waited = true;
    else if (s && this.#ended !== execution(s)) {
      this.#ended = execution(s);
      this.#tell("end", s);
    }
    const more = s && (s.rate || s.stages || s.children || (s.started_at && s.fraction == null));
    if (more || refused || may[1] || (s && !isPlain(s, this.#socket.serverTime)) || this.matches(SPECIAL)) load();
    extras?.attend(this, this.#parts, this.#socket, this.#id, this.#waited);
  }

  /** @param {string} name @param {Snapshot} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`task-progress:${name}`, { detail, bubbles: true, composed: true }));
  }

  paint() {
    const part = this.#parts;
    const socket = this.#socket;
    if (!socket) return;
    const { state, serverTime: at } = socket;
    const { snapshot, refused } = socket.task(this.#id);
    /** @type {any} */
    const s = snapshot ?? { title: part.heading.textContent };
    const live = state === "live";
    const lost = refused || !(live || state === "connecting");
    const percent = percentWords(s);
    const words = snapshot ? stateWords(s, at, live) : refused ? gettext("not available") : gettext("looking for it");
    const age = snapshot ? ageWords(s, at, state) : lost ? gettext("no connection") : "";
    part.bar.value = s.fraction ?? Number(s.state === "SUCCESS");
    if (s.fraction == null && !s.final) part.bar.removeAttribute("value");
    put(part.bar, percent ? `${percent}, ${words}` : words, "ariaValueText");
    put(part.box, `box ${mood(s)}${lost ? " lost" : ""}`, "className");
    put(part.heading, s.title || s.name);
    put(part.percent, percent);
    put(part.count, joined(countWords(s), part.aside));
    put(part.eta, joined(part.rate, live ? etaWords(s, at) : ""));
    put(part.message, part.said ?? s.message);
    put(part.words, words);
    put(part.updated, part.note || joined(part.elapsed, age));
    if (snapshot) {
      const text = lost ? gettext("no connection") : spoken(s, at);
      const now = performance.now();
      const due = s.final || (now - announced > PAUSE && !this.matches("[compact]"));
      if (this.#said && due && text !== this.#said) {
        announced = now;
        put(part.live, text);
      }
      if (due || !this.#said) this.#said = text; // the first is read with the page
      if (s.seq !== this.#seq) this.#tell("change", s);
      this.#seq = s.seq;
    }
    extras?.paint(this, part, socket, this.#id);
  }
}

/** @param {Snapshot} s */
const execution = ({ run, attempt }) => `${run} ${attempt}`;

/** @param {string[]} texts */
const joined = (...texts) => texts.filter(Boolean).join(" · ");

/** @param {any} node @param {string} value */
function put(node, value, name = "textContent") {
  if (node[name] !== value) node[name] = value;
}

/** @param {Element} element @param {string} name @param {any} value */
function set(element, name, value) {
  if (value == null || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value.v ? JSON.stringify(value) : value);
}

for (const name of NAMES) {
  const property = name.replace(/-./, (dash) => dash[1].toUpperCase());
  if (property in TaskProgress.prototype) continue; // has its own
  Object.defineProperty(TaskProgress.prototype, property, {
    get() {
      return this.hasAttribute(name) && (this.getAttribute(name) || true);
    },
    set(value) {
      set(this, name, value);
    },
  });
}

TaskProgress.define();
