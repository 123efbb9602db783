/**
 * What only some bars say: rarer states, how fast, which stage, what came out. Pure, as `words.js` is, and loaded
 * when it is needed: whoever imports this module has taught `words.stateWords` every sentence of `docs/words.md`.
 */

import { gettext, language, mood, rest, spanWords } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */

const SECOND = 1_000; // ms
const STILL_AFTER = 5_000; // ms
const QUIET_AFTER = 60; // seconds; where the task does not set `stall_after`

/**
 * The state in plain words; `words.py` says the same on the server.
 * @param {Snapshot} s
 * @param {?number} [at]
 * @param {boolean} [live] what is shown is all there is: nothing newer can be on its way
 */
export function stateWords(s, at = null, live = true) {
  const { state, attempt } = s;
  const waiting = state === "PENDING" || state === "RECEIVED";
  if (s.cancel_requested && (waiting || state === "RETRY")) {
    return attempt > 0 ? gettext("cancelling, it will not start again") : gettext("cancelling, it will not start");
  }
  if (waiting) return waitingWords(s, at);
  const quiet = live && at !== null ? at - Date.parse(s.updated_at) : 0;
  if (state === "STARTED" || state === "PROGRESS") return runningWords(s, quiet);
  if (state === "RETRY") return list(gettext("retrying"), attemptWords(s, (s.retries ?? 0) + 2), inWords(s, at));
  if (state === "LOST") return lostWords(s, quiet);
  return endWords(s);
}

/** @param {Snapshot} s @param {?number} at */
function waitingWords(s, at) {
  if (s.waits_for) return gettext("waiting for the step before it");
  if (inWords(s, at)) return list(gettext("scheduled"), inWords(s, at));
  if (s.unserved) return gettext("waiting, but no worker listens to “%(queue)s”", { queue: s.queue ?? "" });
  return s.attempt > 0 ? gettext("waiting to run again") : gettext("waiting for a worker");
}

/** @param {Snapshot} s @param {number} quiet ms */
function runningWords(s, quiet) {
  // It may still live, for silent tasks do: its worker's signs of life are not pushed, only that they end.
  const late = quiet >= (s.stall_after ?? QUIET_AFTER) * SECOND;
  const silence = late ? gettext("nothing new for %(time)s", { time: spanWords(quiet) }) : "";
  if (s.cancel_requested) return list(gettext("cancelling…"), silence);
  if (s.retries) return list(gettext("running"), attemptWords(s, s.retries + 1), silence);
  const { attempt } = s;
  return list(attempt > 1 ? gettext("running again (%(attempt)s)", { attempt }) : gettext("running"), silence);
}

/** Here `updated_at` is the last sign of life, until somebody asks to cancel. @param {Snapshot} s @param {number} quiet */
function lostWords(s, quiet) {
  if (s.error) return gettext("interrupted, its worker was stopped");
  if (s.cancel_requested) return gettext("lost (presumed) while cancelling");
  const known = quiet >= SECOND;
  return list(gettext("lost (presumed)"), known ? gettext("no sign of life for %(time)s", { time: spanWords(quiet) }) : "");
}

/** @param {Snapshot} s */
function endWords({ state, error, children }) {
  if (state === "SUCCESS") return children && children.ended < children.known ? gettext("done, its parts go on") : gettext("done");
  if (state === "FAILURE") return gettext("failed");
  if (state === "IGNORED") return gettext("was ignored");
  if (state === "REJECTED") return gettext("was rejected");
  const expired = error && error.type !== "Terminated"; // which only staff are told
  return expired ? gettext("expired, no worker took it in time") : gettext("cancelled");
}

/** @param {Snapshot} s @param {number} attempt */
function attemptWords({ max_retries: most }, attempt) {
  if (most == null) return gettext("attempt %(attempt)s", { attempt });
  return gettext("attempt %(attempt)s of %(attempts)s", { attempt, attempts: most + 1 });
}

/** @param {Snapshot} s @param {?number} at */
function inWords(s, at) {
  const wait = s.scheduled_for && at !== null ? Date.parse(s.scheduled_for) - at : 0;
  return wait > 0 ? gettext("in %(time)s", { time: spanWords(wait) }) : "";
}

/** @param {string[]} parts */
const list = (...parts) => parts.filter(Boolean).join(gettext(", "));

rest.stateWords = stateWords;

/** Why a task cannot be shown, by the code of the refusal. @param {string} code */
export function refusalWords(code) {
  if (code === "expired") return gettext("the right to watch it has ended: load the page again");
  if (code === "too_many") return gettext("this page watches too many tasks");
  return gettext("there is no such task, or it is not yours");
}

/** "5 of 8 parts, 1 failed": of the tasks that it has sent. @param {Snapshot} s */
export function partsWords({ children }) {
  if (!children) return "";
  if (children.failed) return gettext("%(ended)s of %(known)s parts, %(failed)s failed", children);
  return gettext("%(ended)s of %(known)s parts", children);
}

/** The stage that runs, with those it is inside of: "write, header". @param {Snapshot} s */
export function stageWords({ stages, final }) {
  if (!stages || final) return "";
  const running = stages.filter((stage) => stage.state === "running");
  return running.map((stage) => stage.name).join(gettext(", "));
}

/**
 * Its rate says nothing any more: of what comes at that rate, three are overdue, and 5 s more.
 * @param {Snapshot} s
 * @param {?number} at
 */
function standsStill({ rate, updated_at: last }, at) {
  return at !== null && at - Date.parse(last) > STILL_AFTER + 3 * (SECOND / Number(rate));
}

/**
 * "210 rows/s", "12 rows/min", as long as that is known to be so.
 * @param {Snapshot} s
 * @param {?number} [at]
 * @param {boolean} [live]
 */
export function rateWords(s, at = null, live = true) {
  if (!live || !s.rate || s.rate <= 0 || mood(s) !== "run" || standsStill(s, at)) return "";
  if (s.rate >= 0.95) return gettext("%(count)s/s", { count: counted(s.rate, s.unit) });
  if (s.rate >= 0.95 / 60) return gettext("%(count)s/min", { count: counted(s.rate * 60, s.unit) });
  return gettext("%(count)s/h", { count: counted(s.rate * 3600, s.unit) });
}

/** "211 rows", "3.6". @param {number} rate @param {?string | undefined} unit */
function counted(rate, unit) {
  const count = (rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate)).toLocaleString(language);
  return unit ? `${count} ${unit}` : count;
}

/** How long it has run, or ran, in ms; null before it started. @param {Snapshot} s @param {?number} at */
export function elapsedMs({ started_at: from, finished_at: to }, at) {
  if (!from || (!to && at === null)) return null;
  return Math.max(0, (to ? Date.parse(to) : /** @type {number} */ (at)) - Date.parse(from));
}

/** "0:35 so far", "took 1:02:03". @param {Snapshot} s @param {?number} at */
export function elapsedWords(s, at) {
  const elapsed = elapsedMs(s, at);
  if (elapsed === null) return "";
  if (s.finished_at && elapsed < SECOND) return gettext("took less than 1 s");
  const values = { time: clockWords(elapsed) };
  return s.finished_at ? gettext("took %(time)s", values) : gettext("%(time)s so far", values);
}

/** "0:35", "12:05", "1:02:03". @param {number} ms */
export function clockWords(ms) {
  const seconds = Math.floor(ms / SECOND);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/**
 * What the task itself says; of one that came to no good end it is no longer true, only the last that was heard.
 * @param {Snapshot} s
 */
export function messageWords({ state, final, message }) {
  const over = state === "LOST" || (final && state !== "SUCCESS");
  return message && over ? gettext("last said: %(message)s", { message }) : (message ?? "");
}

/** What became of asking to cancel. @param {string} answer */
export function cancelWords(answer) {
  if (answer === "unsent") return gettext("not sent, no connection");
  return answer === "ended" ? gettext("it has already ended") : gettext("you may not cancel it");
}

/** Result or error of an ended task. @param {Snapshot} s */
export function outcomeWords({ state, result, error }) {
  if (error) return error.message || gettext("The reason is not shown here.");
  if (state !== "SUCCESS" || result == null) return "";
  return typeof result === "string" ? result : JSON.stringify(result, null, 1);
}
