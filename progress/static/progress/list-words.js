/** What several tasks together say to people. Pure: no DOM, no clock. */

import { gettext } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {Pick<Snapshot, "state" | "final"> & {fraction?: ?number}} Run */
/** @typedef {"running" | "waiting" | "lost" | "failed" | "cancelled" | "ignored" | "done"} Kind */
/** @typedef {Record<Kind, number>} Counts */

/** @type {Record<import("./protocol.d.ts").State, Kind>} */
const KINDS = {
  STARTED: "running",
  PROGRESS: "running",
  PENDING: "waiting",
  RECEIVED: "waiting",
  RETRY: "waiting",
  LOST: "lost",
  FAILURE: "failed",
  REJECTED: "failed",
  REVOKED: "cancelled",
  IGNORED: "ignored",
  SUCCESS: "done",
};

const none = () => ({ running: 0, waiting: 0, lost: 0, failed: 0, cancelled: 0, ignored: 0, done: 0 });

/** How many there are of each kind. @param {Iterable<{state: string}>} runs @returns {Counts} */
export function countsOf(runs) {
  const counts = none();
  for (const { state } of runs) counts[kindOf(state)] += 1;
  return counts;
}

/** The same, of a workflow's own sums by state. @param {Record<string, number>} sums @returns {Counts} */
export function countsOfStates(sums) {
  const counts = none();
  for (const [state, number] of Object.entries(sums)) counts[kindOf(state)] += number;
  return counts;
}

/** A state of a later release is no end that this one knows. @param {string} state */
const kindOf = (state) => KINDS[/** @type {keyof typeof KINDS} */ (state)] ?? "running";

/**
 * "3 running, 1 failed": of each kind how many, without those that there are none of.
 * @param {Counts} counts
 * @param {readonly Kind[]} [without] kinds that are said elsewhere
 */
export function countsWords(counts, without = []) {
  const kinds = /** @type {Kind[]} */ (Object.keys(none()));
  const said = kinds.filter((kind) => counts[kind] && !without.includes(kind));
  return said.map((kind) => kindWords(kind, counts[kind])).join(gettext(", "));
}

/** Written out, so that translators find each. @param {Kind} kind @param {number} count */
function kindWords(kind, count) {
  if (kind === "running") return gettext("%(count)s running", { count });
  if (kind === "waiting") return gettext("%(count)s waiting", { count });
  if (kind === "lost") return gettext("%(count)s lost", { count });
  if (kind === "failed") return gettext("%(count)s failed", { count });
  if (kind === "cancelled") return gettext("%(count)s cancelled", { count });
  if (kind === "ignored") return gettext("%(count)s ignored", { count });
  return gettext("%(count)s done", { count });
}

/**
 * How far runs are together, 0 … 1, each counting the same; `run_task_runs.total_of` says the same.
 * @param {Run[]} runs
 */
export function totalOf(runs) {
  const ended = runs.filter((run) => run.final).length;
  const failed = countsOf(runs).failed;
  const done = runs.reduce((sum, run) => sum + (run.final ? 1 : (run.fraction ?? 0)), 0);
  return { value: runs.length ? done / runs.length : 0, words: endedWords(ended, runs.length, failed), failed };
}

/** "2 of 4 ended, 1 failed". @param {number} ended @param {number} known @param {number} failed */
export function endedWords(ended, known, failed) {
  const words = gettext("%(count)s of %(total)s ended", { count: ended, total: known });
  return failed ? words + gettext(", ") + kindWords("failed", failed) : words;
}
