/**
 * `<task-list>` shows several tasks, one row each, as they come and go: without further attributes the unfinished
 * tasks of whoever is logged in, wherever they were started. `docs/browser.md` has the whole contract.
 *
 * Attributes: `tree` (id of a workflow: its members, below one bar for the whole) or `ids` (of tasks, separated by
 * spaces); `socket`, `http`, `token`, `href` (address of a run's page, with `{id}`), `notify`: as those of
 * `<task-progress>`; `label`, `empty` (text where there is none; or an element with `slot="empty"`), `total` (one
 * bar for all rows), `limit` (rows, 100), `hide-ended-after` (seconds), `top-level` (without what other tasks sent).
 *
 * Events: `task-list:added` (a row is about to be added; `preventDefault()` keeps it out) and `task-list:counts`.
 */

import { watchMine, watchTree } from "./wishes.js";
import { countsOf, countsOfStates, countsWords, endedWords, totalOf } from "./list-words.js";
import { Rows } from "./list-rows.js";
import { ProgressSocket } from "./progress-socket.js";
import { refusalWords } from "./more-words.js";
import { build, dress } from "./task-list-look.js";
import "./task-progress.js";
import { gettext } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {Extract<import("./protocol.d.ts").Frame, {type: "tree"}>} Tree */

const LIMIT = 100; // rows
const LOOK_EVERY = 250; // ms between two counts
const SPEAK_EVERY = 5_000; // ms between two announcements
const HANDED_ON = ["socket", "http", "token", "notify"]; // to the bars

export class TaskList extends HTMLElement {
  static observedAttributes = ["tree", "ids", "socket", "http", "token", "href", "limit", "label", "empty", "total"];

  static define(name = "task-list") {
    if (!customElements.get(name)) customElements.define(name, this);
  }

  /** @type {?import("./task-list-look.js").Parts} */ #parts = null;
  /** @type {?ProgressSocket} */ #socket = null;
  /** @type {?Rows} */ #rows = null;
  /** @type {?() => void} */ #unfollow = null;
  /** @type {?Tree} */ #frame = null;
  /** @type {Map<string, number>} */ #order = new Map(); // of what was asked for by id
  #refused = "";
  #looking = 0;
  #speaking = 0;
  #spoken = -SPEAK_EVERY; // when
  #said = "";

  /** The newest counts: `{running: 3, failed: 1, …}`. */
  get counts() {
    return this.#frame ? countsOfStates(this.#frame.counts) : countsOf(this.#runs());
  }

  connectedCallback() {
    this.#parts ??= build(this);
    dress(this);
    this.#open();
  }

  disconnectedCallback() {
    this.#close();
  }

  /** @param {string} name @param {?string} before @param {?string} now */
  attributeChangedCallback(name, before, now) {
    if (!this.#rows || before === now) return;
    if (["tree", "ids", "socket"].includes(name)) for (const id of this.#rows.ids) this.#rows.remove(id);
    this.#close();
    this.#open();
  }

  // --- What is followed

  #open() {
    const socket = ProgressSocket.shared(this.getAttribute("socket") ?? "/ws/progress/", { http: this.getAttribute("http") });
    this.#socket = socket;
    this.#rows = new Rows(this, { make: (id) => this.#make(id), rank: (id) => this.#rank(id), changed: () => this.#lookSoon() });
    this.#label(this.#rows.ul);
    this.#takeRendered(socket);
    socket.addEventListener("snapshot", this.#onSnapshot);
    socket.addEventListener("state", this.#lookSoon);
    socket.addEventListener("tree", this.#onTree);
    socket.addEventListener("refused", this.#onRefused);
    const tree = this.getAttribute("tree");
    if (tree) this.#unfollow = watchTree(socket, tree);
    else if (this.hasAttribute("ids")) this.#showOnly((this.getAttribute("ids") ?? "").split(/\s+/).filter(Boolean));
    else this.#unfollow = watchMine(socket);
    this.#lookSoon();
  }

  #close() {
    const socket = this.#socket;
    socket?.removeEventListener("snapshot", this.#onSnapshot);
    socket?.removeEventListener("state", this.#lookSoon);
    socket?.removeEventListener("tree", this.#onTree);
    socket?.removeEventListener("refused", this.#onRefused);
    this.#unfollow?.();
    this.#rows?.close();
    clearTimeout(this.#looking);
    clearTimeout(this.#speaking);
    this.#looking = this.#speaking = 0;
    this.#unfollow = this.#socket = this.#rows = this.#frame = null;
    this.#refused = "";
    this.#order.clear();
  }

  /** The bars of rendered rows may come to life later than this list. @param {ProgressSocket} socket */
  #takeRendered(socket) {
    for (const bar of this.querySelectorAll("task-progress[snapshot]")) {
      try {
        socket.merge(JSON.parse(bar.getAttribute("snapshot") ?? ""));
      } catch {
        // The connection will say what is true.
      }
    }
  }

  /** @param {Event} event */
  #onSnapshot = (event) => {
    const snapshot = /** @type {CustomEvent<Snapshot>} */ (event).detail;
    const { id } = snapshot;
    if (!this.#rows?.has(id)) {
      const listed = this.hasAttribute("tree") || this.hasAttribute("ids");
      if (listed || (this.hasAttribute("top-level") && snapshot.parent)) return;
      this.#add(id);
    }
    this.#lookSoon();
  };

  /** @param {Event} event */
  #onTree = (event) => {
    const frame = /** @type {CustomEvent<Tree>} */ (event).detail;
    if (frame.id !== this.getAttribute("tree")) return;
    this.#frame = frame;
    this.#refused = "";
    this.#showOnly(frame.members);
  };

  /** @param {Event} event */
  #onRefused = (event) => {
    const { ids, code } = /** @type {CustomEvent<{ids: string[], code: string}>} */ (event).detail;
    if (!ids.includes(this.getAttribute("tree") ?? "")) return;
    this.#refused = code;
    this.#lookSoon();
  };

  // --- Rows

  /** @param {string[]} ids in this order */
  #showOnly(ids) {
    const wanted = ids.slice(0, this.#limit);
    this.#order = new Map(wanted.map((id, place) => [id, place]));
    for (const id of this.#rows?.ids ?? []) if (!this.#order.has(id)) this.#rows?.remove(id);
    for (const id of wanted) this.#add(id);
    this.#lookSoon();
  }

  /** @param {string} id */
  #add(id) {
    if (!this.#rows || this.#rows.has(id)) return;
    const detail = { id, snapshot: this.#socket?.task(id).snapshot };
    const added = new CustomEvent("task-list:added", { detail, bubbles: true, composed: true, cancelable: true });
    if (this.dispatchEvent(added)) this.#rows.add(id);
  }

  /** @param {string} id */
  #make(id) {
    const bar = document.createElement("task-progress");
    bar.setAttribute("task-id", id);
    bar.setAttribute("compact", "");
    for (const name of HANDED_ON) {
      const value = this.getAttribute(name);
      if (value !== null) bar.setAttribute(name, value);
    }
    const href = this.getAttribute("href")?.replace(/\{id\}|%7Bid%7D/i, encodeURIComponent(id));
    if (href) bar.setAttribute("href", href);
    return bar;
  }

  /** In the order that was asked for; else the newest first. @param {string} id */
  #rank(id) {
    return this.#order.get(id) ?? -Date.parse(this.#socket?.task(id).snapshot?.queued_at ?? "9999-01-01");
  }

  get #limit() {
    return Math.max(1, Number(this.getAttribute("limit")) || (this.matches("[tree], [ids]") ? Infinity : LIMIT));
  }

  /** Take away what is over and what is too much: of that first what has ended, the oldest of it. */
  #tidy() {
    const [rows, socket] = [this.#rows, this.#socket];
    if (!rows || !socket || this.#order.size) return false;
    const ended = rows.ids.filter((id) => socket.task(id).snapshot?.final);
    const [after, at] = [this.getAttribute("hide-ended-after"), socket.serverTime];
    if (after !== null && at !== null) {
      const since = at - Number(after) * 1000;
      const over = ended.filter((id) => Date.parse(socket.task(id).snapshot?.finished_at ?? "") <= since);
      for (const id of over) rows.remove(id, false);
    }
    const byAge = (/** @type {string} */ a, /** @type {string} */ b) => this.#rank(b) - this.#rank(a);
    const first = new Set([...ended.sort(byAge), ...rows.ids.sort(byAge)]);
    for (const id of first) if (rows.size > this.#limit) rows.remove(id, false);
    return after !== null && ended.length > 0;
  }

  // --- What is said of all of them

  #lookSoon = () => {
    this.#looking ||= window.setTimeout(() => this.#look(), LOOK_EVERY);
  };

  #look() {
    this.#looking = 0;
    const [rows, part, socket] = [this.#rows, this.#parts, this.#socket];
    if (!rows || !part || !socket) return;
    if (this.#tidy()) this.#looking = window.setTimeout(() => this.#look(), 1_000);
    for (const id of rows.ids) {
      const { snapshot } = socket.task(id);
      if (snapshot) rows.mark(id, snapshot.state);
    }
    const { counts } = this;
    const total = this.#total();
    const said = total ? joined(total.words, countsWords(counts, ["failed", "done"])) : countsWords(counts);
    part.total.hidden = !total || !rows.size;
    if (total) part.total.value = total.value;
    part.total.classList.toggle("failed", !!total?.failed);
    this.#show(rows.size ? said : this.#why(socket), counts);
    const empty = !rows.size && !part.counts.textContent;
    part.empty.hidden = !empty;
    for (const each of part.empty.assignedElements()) each.toggleAttribute("hidden", !empty);
  }

  /** @param {string} words @param {import("./list-words.js").Counts} counts */
  #show(words, counts) {
    const { counts: place } = /** @type {import("./task-list-look.js").Parts} */ (this.#parts);
    if (place.textContent === words && this.#said) return;
    place.textContent = words;
    place.hidden = !words;
    this.dispatchEvent(new CustomEvent("task-list:counts", { detail: counts, bubbles: true, composed: true }));
    if (this.#said) this.#speakSoon();
    else this.#said = words || " "; // what is there when the page is opened is read with the page
  }

  /** Why there is nothing to be seen; "" = there is nothing. @param {ProgressSocket} socket */
  #why({ state }) {
    if (this.#refused) return refusalWords(this.#refused);
    if (state === "live" || this.hasAttribute("ids")) return "";
    if (state === "refused") return gettext("not connected any more: load the page again");
    return state === "connecting" ? gettext("looking for it") : gettext("no connection");
  }

  #total() {
    const frame = this.#frame;
    if (frame) {
      const words = endedWords(frame.ended, frame.known, frame.failed);
      return { value: frame.fraction ?? frame.ended / Math.max(1, frame.known), words, failed: frame.failed };
    }
    return this.hasAttribute("total") ? totalOf(this.#runs()) : null;
  }

  #runs() {
    const live = this.#rows?.ids.map((id) => this.#socket?.task(id).snapshot ?? { state: "PENDING", final: false }) ?? [];
    return /** @type {import("./list-words.js").Run[]} */ ([...(this.#rows?.over ?? []), ...live]);
  }

  #speakSoon() {
    this.#speaking ||= window.setTimeout(
      () => {
        const { counts, live } = /** @type {import("./task-list-look.js").Parts} */ (this.#parts);
        this.#speaking = 0;
        this.#spoken = performance.now();
        if (counts.textContent === this.#said) return;
        this.#said = counts.textContent || " ";
        live.textContent = counts.textContent ? `${this.#name()}: ${counts.textContent}` : "";
      },
      Math.max(0, this.#spoken + SPEAK_EVERY - performance.now()),
    );
  }

  #name() {
    const labels = (this.getAttribute("aria-labelledby") ?? "").split(/\s+/).map((id) => document.getElementById(id));
    const named = labels.map((label) => label?.textContent?.trim()).filter(Boolean).join(" ");
    const listed = this.hasAttribute("tree") || this.hasAttribute("ids");
    return this.getAttribute("label") || named || (listed ? gettext("Tasks") : gettext("My jobs"));
  }

  /** @param {Element} ul */
  #label(ul) {
    const part = /** @type {import("./task-list-look.js").Parts} */ (this.#parts);
    const name = this.#name();
    ul.setAttribute("aria-label", name);
    part.total.setAttribute("aria-label", name);
    part.empty.textContent = this.getAttribute("empty") ?? gettext("None.");
  }
}

/** @param {...string} parts */
const joined = (...parts) => parts.filter(Boolean).join(" · ");

TaskList.define();
