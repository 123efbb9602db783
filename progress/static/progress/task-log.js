/**
 * `<task-log task-id="…">` shows the log lines of a task as they come. Attributes: `task-id`, `token`, `socket`,
 * `http`, and `level` (the lowest that is shown: DEBUG, INFO, WARNING, ERROR or CRITICAL).
 *
 * Lines are ordinary elements in the page (class `task-log-line`, `data-level`), so that they can be
 * selected, searched and styled like its other text. It follows the newest line until somebody scrolls up; then a
 * button says how many are new, and leads to them.
 */

import { closeLog, openLog } from "./log-lines.js";
import { put } from "./nodes.js";
import { ProgressSocket } from "./progress-socket.js";
import { gettext, language } from "./words.js";

/** @typedef {import("./protocol.d.ts").LogLine} LogLine */

const LINES = 1_000; // shown; older ones are taken away
const NEAR = 8; // px from the end that count as the end
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

// In a layer: whatever a site says about its lines counts more.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
@layer task-log {
  .task-log-line time { margin-inline-end: .75em; font-variant-numeric: tabular-nums }
  .task-log-foot { position: sticky; inset-block-end: 0; display: flex; flex-direction: column; align-items: center; gap: .25em }
  .task-log-foot:not(:has(:not([hidden]))) { display: none }
  .task-log-foot > p { align-self: stretch; margin: 0; background: var(--task-log-background, Canvas); color: CanvasText }
  .task-log-note { unicode-bidi: plaintext; text-align: match-parent; text-align: -webkit-match-parent }
  .task-log-foot > button { font: inherit; padding: .25em 1em; border-radius: 2em; cursor: pointer }
  task-log:focus-visible { outline: 2px solid; outline-offset: 2px }
  :is(.task-log-foot, .task-log-line) [hidden], .task-log-line[hidden] { display: none }
}
`);

export class TaskLog extends HTMLElement {
  static observedAttributes = ["task-id", "token", "socket", "http", "level"];

  static define(name = "task-log") {
    if (!customElements.get(name)) customElements.define(name, this);
  }

  /** @type {?ProgressSocket} */ #socket = null;
  /** @type {?import("./protocol.d.ts").Log} */ #log = null;
  #id = "";
  #new = 0; // lines since somebody scrolled up
  #follows = true;
  #foot = document.createElement("div");
  #state = document.createElement("p");
  #more = document.createElement("button");

  constructor() {
    super();
    this.#foot.className = "task-log-foot";
    this.#state.className = "task-log-note";
    this.#state.setAttribute("role", "status");
    this.#more.type = "button";
    this.#more.addEventListener("click", () => this.#toEnd());
    this.#foot.append(this.#state, this.#more);
  }

  /** @param {Event} event */
  #onLines = (event) => this.#append(/** @type {CustomEvent} */ (event).detail);
  #onTask = () => {
    this.#say();
    if (this.#follows) this.scrollTop = this.scrollHeight; // what is said now must not cover the last line
  };

  #onScroll = () => {
    this.#follows = this.scrollHeight - this.scrollTop - this.clientHeight < NEAR;
    if (!this.#follows || !this.#new) return;
    this.#new = 0;
    this.#say();
  };

  connectedCallback() {
    this.setAttribute("role", "log");
    this.setAttribute("aria-live", "off"); // a log that reads itself out drowns everything else
    if (!this.hasAttribute("tabindex")) this.tabIndex = 0; // to be scrolled with the keyboard
    const root = /** @type {Document | ShadowRoot} */ (this.getRootNode());
    if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
    this.addEventListener("scroll", this.#onScroll, { passive: true });
    this.#open();
  }

  disconnectedCallback() {
    this.removeEventListener("scroll", this.#onScroll);
    this.#close();
  }

  /** @param {string} name @param {?string} before @param {?string} now */
  attributeChangedCallback(name, before, now) {
    if (!this.#socket || before === now) return;
    if (name === "level") return this.#sift();
    this.#close();
    this.#open();
  }

  get taskId() {
    return this.getAttribute("task-id") ?? "";
  }

  set taskId(id) {
    this.setAttribute("task-id", id);
  }

  #open() {
    this.#id = this.taskId;
    this.#new = 0;
    this.#follows = true;
    this.replaceChildren(this.#foot);
    if (!this.#id) return;
    const http = this.getAttribute("http");
    this.#socket = ProgressSocket.shared(this.getAttribute("socket") ?? "/ws/progress/", { http });
    this.#log = openLog(this.#socket, this.#id, { token: this.getAttribute("token") });
    this.#socket.addEventListener(`logs:${this.#id}`, this.#onLines);
    this.#socket.addEventListener(`task:${this.#id}`, this.#onTask);
    this.#socket.addEventListener("state", this.#onTask);
    this.#append(this.#log.lines);
  }

  #close() {
    this.#socket?.removeEventListener(`logs:${this.#id}`, this.#onLines);
    this.#socket?.removeEventListener(`task:${this.#id}`, this.#onTask);
    this.#socket?.removeEventListener("state", this.#onTask);
    if (this.#socket) closeLog(this.#socket, this.#id);
    this.#socket = this.#log = null;
  }

  // --- Lines

  /** @param {readonly LogLine[]} lines */
  #append(lines) {
    const made = document.createDocumentFragment();
    for (const line of lines) made.append(this.#line(line));
    const shown = [...made.children].filter((each) => !(/** @type {HTMLElement} */ (each).hidden)).length;
    this.insertBefore(made, this.#foot);
    const all = this.querySelectorAll(":scope > .task-log-line");
    for (let at = 0; at < all.length - LINES; at += 1) all[at].remove();
    if (!this.#follows) this.#new += shown;
    this.#say();
    if (this.#follows) this.scrollTop = this.scrollHeight;
  }

  /** @param {LogLine} line */
  #line({ at, level, text }) {
    const line = document.createElement("div");
    line.className = "task-log-line";
    line.dataset.level = level;
    line.hidden = !this.#shows(level);
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = clock("time", at);
    time.title = clock("date", at);
    const words = document.createElement("span");
    words.dir = "auto"; // a line is in whatever language its program speaks, not in that of the page
    words.textContent = text;
    // Many texts say their level themselves.
    line.append(time, level === "INFO" || text.startsWith(level) ? "" : ` ${level}`, " ", words);
    return line;
  }

  /** A level that a program has made up counts as INFO. @param {string} [level] */
  #shows(level = "INFO") {
    const rank = (/** @type {string} */ name) => LEVELS.indexOf(LEVELS.includes(name) ? name : "INFO");
    const least = this.getAttribute("level");
    return !least || rank(level) >= rank(least);
  }

  #sift() {
    for (const line of /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll(":scope > .task-log-line"))) {
      line.hidden = !this.#shows(line.dataset.level);
    }
    this.#say();
    if (this.#follows) this.scrollTop = this.scrollHeight;
  }

  #toEnd() {
    this.scrollTop = this.scrollHeight;
    this.#follows = true;
    this.#new = 0;
    this.focus({ preventScroll: true }); // the button goes away
    this.#say();
  }

  // --- What is not there, and why

  #say() {
    this.#note(this.#missing());
    put(this.#state, this.#connection());
    put(this.#more, this.#newer());
    this.#state.hidden = !this.#state.textContent;
    this.#more.hidden = !this.#new;
  }

  #missing() {
    if (this.#log?.refused) return gettext("The log is for the owner of the task only.");
    if (this.querySelector(":scope > .task-log-line:not([hidden])")) {
      return this.#log?.truncated ? gettext("Older lines are no longer kept.") : "";
    }
    if (this.querySelector(":scope > .task-log-line")) return gettext("No lines of this level.");
    return this.#socket?.task(this.#id).snapshot?.final ? gettext("No lines.") : gettext("No lines yet.");
  }

  #connection() {
    const { state, transport } = this.#socket ?? {};
    const { snapshot } = this.#socket?.task(this.#id) ?? {};
    if (this.#log?.refused || snapshot?.final || !state || state === "connecting") return "";
    if (state === "refused") return gettext("not connected any more: load the page again");
    if (state !== "live") return gettext("Connection lost: newer lines come when it is back.");
    return transport === "websocket" ? "" : gettext("Log lines need a WebSocket, which does not get through now.");
  }

  #newer() {
    return this.#new === 1 ? gettext("1 new line") : gettext("%(count)s new lines", { count: this.#new });
  }

  /** @param {string} words */
  #note(words) {
    let node = this.querySelector(":scope > .task-log-note");
    if (!words) return node?.remove();
    if (!node) {
      node = document.createElement("p");
      node.className = "task-log-note";
      this.prepend(node);
    }
    put(node, words);
  }
}

/** @type {Map<string, Intl.DateTimeFormat>} */
const clocks = new Map();

/** @param {"time" | "date"} what @param {string} at */
function clock(what, at) {
  if (!clocks.size) {
    clocks.set("time", new Intl.DateTimeFormat(language, { timeStyle: "medium", hourCycle: "h23" }));
    clocks.set("date", new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "long", hourCycle: "h23" }));
  }
  const moment = new Date(at);
  return Number.isNaN(moment.getTime()) ? at : /** @type {Intl.DateTimeFormat} */ (clocks.get(what)).format(moment);
}

TaskLog.define();
