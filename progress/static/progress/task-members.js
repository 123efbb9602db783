/**
 * The tasks that a task has sent: how many, and on demand each of them as a line in time. They are watched while they
 * are shown and no longer, whichever way the bar leaves the page.
 */

import { elapsedWords, partsWords } from "./more-words.js";
import { make, put } from "./nodes.js";
import { watchTree } from "./wishes.js";
import { gettext, mood, percentWords, stateWords } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {import("./progress-socket.js").ProgressSocket} ProgressSocket */
/** @typedef {import("./task-extras.js").View} View */
/** @typedef {{item: HTMLElement, name: HTMLElement, piece: HTMLElement, fill: HTMLElement, state: HTMLElement}} Row */

export class Members {
  node = make("details", "parts", "parts");
  #words = make("span", "parts-words");
  #list = make("ol", "members");
  #more = make("p", "rest");
  #refresh;
  /** @type {?ProgressSocket} */ #socket = null;
  #unfollow = () => {};
  #id = "";
  /** @type {string[]} */ #ids = [];
  #known = 0;
  /** @type {Map<string, Row>} */ #rows = new Map();

  /** @param {() => void} refresh called when there is something new to be painted */
  constructor(refresh) {
    this.#refresh = refresh;
    const summary = make("summary", "");
    summary.append(this.#words);
    this.node.append(summary, this.#list, this.#more);
    this.node.hidden = true;
    this.node.addEventListener("toggle", refresh);
  }

  /** @param {View} view */
  paint({ id, s, at, socket }) {
    if (this.#id && id !== this.#id) this.close();
    this.#id = id;
    put(this.node, !s.children, "hidden");
    if (!s.children) return;
    put(this.#words, partsWords(s));
    const open = /** @type {HTMLDetailsElement} */ (this.node).open;
    if (!open) return this.unwatch();
    this.#watch(socket);
    this.#paintRows(s, at, socket);
  }

  /** Shut, empty and unwatched. */
  close() {
    this.unwatch();
    /** @type {HTMLDetailsElement} */ (this.node).open = false;
    this.#ids = [];
    this.#id = "";
  }

  unwatch() {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.removeEventListener("tree", this);
    socket.removeEventListener("snapshot", this);
    this.#unfollow();
  }

  /** @param {ProgressSocket} socket */
  #watch(socket) {
    if (this.#socket) return;
    this.#socket = socket;
    const id = this.#id;
    socket.addEventListener("tree", this);
    socket.addEventListener("snapshot", this);
    this.#unfollow = watchTree(socket, id);
  }

  /** @param {Event} event */
  handleEvent(event) {
    const { type, detail } = /** @type {CustomEvent} */ (event);
    if (type === "tree" && detail.id === this.#id) {
      this.#ids = detail.members.filter((/** @type {string} */ id) => id !== this.#id);
      this.#known = detail.known;
    } else if (!this.#ids.includes(detail.id)) return;
    this.#refresh();
  }

  /** @param {Snapshot} s @param {?number} at @param {ProgressSocket} socket */
  #paintRows(s, at, socket) {
    const members = this.#ids.map((id) => socket.task(id).snapshot).filter((member) => member !== undefined);
    const times = members.flatMap(({ queued_at: a, started_at: b, finished_at: c }) => [a, b, c]).concat(s.started_at);
    const known = times.map((time) => Date.parse(time ?? "")).filter(Boolean);
    const end = members.every(({ final }) => final) || at === null ? Math.max(...known) : at;
    const begin = Math.min(...known);
    const whole = Math.max(1, end - begin);
    const shown = new Set(members.map(({ id }) => id));
    for (const [id, { item }] of this.#rows) {
      if (shown.has(id)) continue;
      item.remove();
      this.#rows.delete(id);
    }
    for (const member of members) this.#paintRow(this.#row(member.id), member, at, begin, whole);
    const left = Math.max(0, this.#known - this.#ids.length - 1);
    const waiting = gettext("looking for them");
    put(this.#more, !members.length ? waiting : left ? gettext("and %(count)s more", { count: left }) : "");
  }

  /** @param {string} id */
  #row(id) {
    const before = this.#rows.get(id);
    if (before) return before;
    const [item, lane, text] = [make("li", "member", "member"), make("div", "lane"), make("div", "member-text")];
    const row = { item, name: make("span", "member-name"), piece: make("div", "run-piece"), fill: make("div", "fill"), state: make("span", "word") };
    lane.ariaHidden = "true"; // the text says it in words
    row.piece.append(row.fill);
    lane.append(row.piece);
    text.append(row.name, row.state);
    item.append(text, lane);
    this.#list.append(item);
    this.#rows.set(id, row);
    return row;
  }

  /** @param {Row} row @param {Snapshot} s @param {?number} at @param {number} begin @param {number} whole */
  #paintRow(row, s, at, begin, whole) {
    put(row.item, `member ${mood(s)}`, "className");
    put(row.name, s.title || s.name);
    const percent = s.final ? "" : percentWords(s);
    put(row.state, [stateWords(s, at, true), percent, s.final ? elapsedWords(s, at) : ""].filter(Boolean).join(" · "));
    const from = Date.parse(s.started_at ?? "");
    const to = s.finished_at ? Date.parse(s.finished_at) : (at ?? from);
    put(row.piece, !from, "hidden");
    if (!from) return;
    const share = (/** @type {number} */ ms) => `${Math.max(0, Math.min(100, (ms / whole) * 100)).toFixed(2)}%`;
    put(row.piece.style, share(from - begin), "insetInlineStart");
    put(row.piece.style, share(to - from), "inlineSize");
    put(row.fill.style, s.final ? "100%" : `${((s.fraction ?? 0) * 100).toFixed(1)}%`, "inlineSize");
  }
}
