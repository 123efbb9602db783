/**
 * The rows of a `<task-list>`: ordinary `<li>` elements in the page, each with a compact `<task-progress>`. The page
 * is what counts: rows that a server rendered, or that a swap brought or took, are known because they are there.
 */

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {(id: string) => HTMLElement} Make makes the bar of a row */
/** @typedef {(id: string) => number} Rank the lower, the further up */

const FINAL = ["SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED"];
const BUDGET = 8; // ms of a frame that may be spent on new rows
const UNSEEN_EVERY = 5_000; // ms between two paintings of a bar off the screen

export class Rows {
  /** @type {Map<string, HTMLElement>} */ #rows = new Map();
  /** @type {Set<string>} */ #awaited = new Set();
  #frame = 0;

  /**
   * @param {HTMLElement} list
   * @param {{make: Make, rank: Rank, changed: () => void}} owner
   */
  constructor(list, owner) {
    this.owner = owner;
    this.ul = list.querySelector(":scope > ul") ?? list.appendChild(document.createElement("ul"));
    this.ul.setAttribute("role", "list"); // some readers take a list without bullets for none
    this.observer = new MutationObserver(() => this.#look());
    this.observer.observe(this.ul, { childList: true });
    this.ul.addEventListener("contentvisibilityautostatechange", this.#onSeen);
    this.#look();
  }

  /** Leaves the rows where they are. */
  close() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#awaited.clear();
    this.observer.disconnect();
    this.ul.removeEventListener("contentvisibilityautostatechange", this.#onSeen);
  }

  get size() {
    return this.ul.childElementCount + this.#awaited.size;
  }

  /** Those that are there and those that are about to be. */
  get ids() {
    return [...this.#rows.keys(), ...this.#awaited];
  }

  /** What rows say that have no bar, because nothing about them changes any more. */
  get over() {
    const rows = /** @type {HTMLElement[]} */ ([...this.ul.children]).filter((row) => row.dataset.state && !barOf(row));
    return rows.map(({ dataset: { state = "", fraction } }) => {
      return { state, final: FINAL.includes(state), fraction: Number(fraction) || null };
    });
  }

  /** @param {string} id */
  has(id) {
    return this.#rows.has(id) || this.#awaited.has(id);
  }

  /** Add a row, soon: a few in each frame of the screen, however many there are. @param {string} id */
  add(id) {
    if (this.has(id)) return;
    this.#awaited.add(id);
    this.#frame ||= requestAnimationFrame(() => this.#insert());
  }

  /** @param {string} id @param {boolean} [anyway] False if it stays because the focus is in it. */
  remove(id, anyway = true) {
    const row = this.#rows.get(id);
    this.#awaited.delete(id);
    if (row?.contains(document.activeElement) && !anyway) return false;
    this.#rows.delete(id);
    row?.remove();
    return true;
  }

  /** For style sheets and searches. @param {string} id @param {string} state */
  mark(id, state) {
    const row = this.#rows.get(id);
    if (row && row.dataset.state !== state) row.dataset.state = state;
  }

  #insert() {
    const until = performance.now() + BUDGET;
    this.#frame = 0;
    for (const id of this.#awaited) {
      this.#awaited.delete(id);
      const row = document.createElement("li");
      row.append(this.owner.make(id));
      this.ul.insertBefore(row, this.#below(id));
      this.#rows.set(id, row);
      if (performance.now() > until) break;
    }
    if (this.#awaited.size) this.#frame = requestAnimationFrame(() => this.#insert());
    this.owner.changed();
  }

  /** The row above which this one belongs. @param {string} id */
  #below(id) {
    const { rank } = this.owner;
    const mine = rank(id);
    for (const row of this.ul.children) {
      const other = barOf(row)?.getAttribute("task-id");
      if (other && rank(other) > mine) return row;
    }
    return null;
  }

  #look() {
    this.#rows.clear();
    for (const row of /** @type {Iterable<HTMLElement>} */ (this.ul.children)) {
      const id = barOf(row)?.getAttribute("task-id");
      if (id) this.#rows.set(id, row);
    }
    this.owner.changed();
  }

  /** @param {Event} event */
  #onSeen = (event) => {
    const { skipped } = /** @type {Event & {skipped: boolean}} */ (event);
    const bar = event.target instanceof Element && barOf(event.target);
    if (bar) paintSeldom(/** @type {any} */ (bar), skipped);
  };
}

/**
 * Off the screen a bar is painted seldom: nobody sees it, but its text can still be searched for.
 * @param {import("./task-progress.js").TaskProgress} bar
 * @param {boolean} seldom
 */
function paintSeldom(bar, seldom) {
  Reflect.deleteProperty(bar, "paint");
  if (!seldom) return bar.handleEvent();
  const usual = bar.paint;
  let last = -UNSEEN_EVERY;
  bar.paint = () => {
    if (performance.now() - last < UNSEEN_EVERY) return;
    last = performance.now();
    usual.call(bar);
  };
}

/** @param {Element} row */
const barOf = (row) => row.querySelector("task-progress");
