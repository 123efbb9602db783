/** One bar for all runs on a page: how far they are together, each counting the same. It watches nothing itself. */

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {Pick<Snapshot, "state" | "final" | "fraction">} Run */

const FAILED = ["FAILURE", "REJECTED"];
const WAITING = /** @type {const} */ ({ state: "PENDING", final: false, fraction: null });
const number = new Intl.NumberFormat("en");

/**
 * How far runs are together, 0 … 1, and that in words; `run_task_runs.total_of` says the same.
 * @param {Run[]} runs
 */
export function totalOf(runs) {
  const ended = runs.filter((run) => run.final).length;
  const failed = runs.filter((run) => FAILED.includes(run.state)).length;
  const done = runs.reduce((sum, run) => sum + (run.final ? 1 : (run.fraction ?? 0)), 0);
  const words = `${number.format(ended)} of ${number.format(runs.length)} ended`;
  return {
    value: done / runs.length,
    words: failed ? `${words}, ${number.format(failed)} failed` : words,
    failed: failed > 0,
  };
}

/** @param {?string} json @param {any} otherwise */
function parsed(json, otherwise) {
  try {
    return JSON.parse(json ?? "") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {Element} place @param {Document} page */
function follow(place, page) {
  const bar = /** @type {HTMLProgressElement} */ (place.querySelector("progress"));
  const words = /** @type {HTMLElement} */ (place.querySelector("p"));
  const elements = [...page.querySelectorAll("task-progress")];
  /** @type {Map<Element, Run>} */
  const known = new Map(elements.map((each) => [each, parsed(each.getAttribute("snapshot"), WAITING)]));
  // What Redis has forgotten has no element, and does not change any more.
  const over = parsed(place.getAttribute("data-over"), []);
  page.addEventListener("task-progress:change", (event) => {
    if (!(event.target instanceof Element) || !known.has(event.target)) return;
    known.set(event.target, /** @type {CustomEvent<Snapshot>} */ (event).detail);
    const total = totalOf([...known.values(), ...over]);
    bar.value = total.value;
    place.classList.toggle("failed", total.failed);
    if (words.textContent !== total.words) words.textContent = total.words;
  });
}

const place = globalThis.document?.querySelector(".run-total");
if (place) follow(place, document);
