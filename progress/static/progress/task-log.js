/**
 * `<task-log task-id="…">` shows the log lines of a task as they come. Attributes: `task-id`, `token`,
 * `socket`.
 *
 * Lines are ordinary elements in the page (class `task-log-line`, `data-level`), so that they can be
 * selected, searched and styled like its other text. It follows the newest line until somebody scrolls up.
 */

import { ProgressSocket } from "./progress-socket.js";

const LINES = 1_000; // shown; older ones are taken away

export class TaskLog extends HTMLElement {
  static define(name = "task-log") {
    if (!customElements.get(name)) customElements.define(name, this);
  }

  /** @type {?ProgressSocket} */ #socket = null;
  /** @type {?import("./protocol.d.ts").Log} */ #log = null;
  #id = "";

  /** @param {Event} event */
  #onLines = (event) => this.#append(/** @type {CustomEvent} */ (event).detail);
  #onTask = () => this.#say();

  connectedCallback() {
    this.#id = this.getAttribute("task-id") ?? "";
    this.setAttribute("role", "log");
    this.setAttribute("aria-live", "off"); // a log that reads itself out drowns everything else
    if (!this.hasAttribute("tabindex")) this.tabIndex = 0; // to be scrolled with the keyboard
    this.#socket = ProgressSocket.shared(this.getAttribute("socket") ?? "/ws/progress/");
    this.#log = this.#socket.logs(this.#id, null, { token: this.getAttribute("token") });
    this.#socket.addEventListener(`logs:${this.#id}`, this.#onLines);
    this.#socket.addEventListener(`task:${this.#id}`, this.#onTask);
    this.replaceChildren();
    this.#append(this.#log.lines);
  }

  disconnectedCallback() {
    this.#socket?.removeEventListener(`logs:${this.#id}`, this.#onLines);
    this.#socket?.removeEventListener(`task:${this.#id}`, this.#onTask);
    this.#socket?.unlogs(this.#id);
    this.#socket = this.#log = null;
  }

  /** @param {readonly import("./protocol.d.ts").LogLine[]} lines */
  #append(lines) {
    const follows = this.scrollHeight - this.scrollTop - this.clientHeight < 8; // px
    this.querySelector(":scope > .task-log-note")?.remove();
    for (const { at, level, text } of lines) {
      const line = document.createElement("div");
      line.className = "task-log-line";
      line.dataset.level = level;
      const time = document.createElement("time");
      time.dateTime = at;
      time.textContent = new Date(at).toLocaleTimeString("en-GB");
      const words = document.createElement("span");
      words.textContent = text;
      // Many texts say their level themselves.
      line.append(time, level === "INFO" || text.startsWith(level) ? "" : ` ${level}`, " ", words);
      this.append(line);
    }
    while (this.childElementCount > LINES) this.firstElementChild?.remove();
    this.#say();
    if (follows) this.scrollTop = this.scrollHeight;
  }

  /** What is not there, and why. */
  #say() {
    const empty = !this.querySelector(":scope > .task-log-line");
    let note = "";
    if (this.#log?.refused) note = "The log is for the owner of the task only.";
    else if (empty) note = this.#socket?.task(this.#id).snapshot?.final ? "No lines." : "No lines yet.";
    else if (this.#log?.truncated) note = "Older lines are no longer kept.";
    let node = this.querySelector(":scope > .task-log-note");
    if (!note) return node?.remove();
    if (!node) {
      node = document.createElement("p");
      node.className = "task-log-note";
      this.prepend(node);
    }
    if (node.textContent !== note) node.textContent = note;
  }
}

TaskLog.define();
