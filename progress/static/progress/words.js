/** What a snapshot says to people. Pure: no DOM, no clock; `at` is the server's time in ms since 1970. */

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */

const number = new Intl.NumberFormat("en");
const SECOND = 1_000; // ms
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const QUIET_AFTER = 60; // seconds; where the task does not set `stall_after`

/**
 * The state in plain words; `docs/words.md` lists them, and `words.py` says the same on the server.
 * @param {Snapshot} s
 * @param {?number} at
 * @param {boolean} live what is shown is all there is: nothing newer can be on its way
 */
export function stateWords(s, at, live = true) {
  const running = s.state === "STARTED" || s.state === "PROGRESS";
  const waiting = s.state === "PENDING" || s.state === "RECEIVED";
  if (s.cancel_requested && (waiting || s.state === "RETRY")) {
    return `cancelling, it will not start${s.attempt > 0 ? " again" : ""}`;
  }
  if (running) return runningWords(s) + (live ? quietWords(s, at) : "");
  if (waiting) return waitingWords(s, at);
  if (s.state === "RETRY") return `retrying, ${attemptWords(s, (s.retries ?? 0) + 2)}${inWords(s, at)}`;
  if (s.state === "REVOKED") {
    const expired = s.error && s.error.type !== "Terminated"; // which only staff are told
    return expired ? "expired, no worker took it in time" : "cancelled";
  }
  if (s.state === "LOST") return lostWords(s);
  const ends = { SUCCESS: "done", FAILURE: "failed", IGNORED: "was ignored", REJECTED: "was rejected" };
  return ends[/** @type {keyof ends} */ (s.state)];
}

/** @param {Snapshot} s */
function runningWords(s) {
  if (s.cancel_requested) return "cancelling…";
  if (s.retries) return `running, ${attemptWords(s, s.retries + 1)}`;
  return s.attempt > 1 ? `running again (${s.attempt})` : "running";
}

/** @param {Snapshot} s @param {?number} at */
function waitingWords(s, at) {
  if (s.waits_for) return "waiting for the step before it";
  if (inWords(s, at)) return `scheduled${inWords(s, at)}`;
  if (s.unserved) return `waiting, but no worker listens to “${s.queue}”`;
  return s.attempt > 0 ? "waiting to run again" : "waiting for a worker";
}

/** @param {Snapshot} s */
function lostWords(s) {
  if (s.error) return "interrupted, its worker was stopped";
  return s.cancel_requested ? "lost (presumed) while cancelling" : "lost (presumed)";
}

/** Nothing new for so long: it may still live, for silent tasks do. @param {Snapshot} s @param {?number} at */
function quietWords(s, at) {
  const quiet = at === null ? 0 : at - Date.parse(s.updated_at);
  return quiet >= (s.stall_after ?? QUIET_AFTER) * SECOND ? `, nothing new for ${spanWords(quiet)}` : "";
}

/** @param {Snapshot} s @param {number} attempt */
function attemptWords(s, attempt) {
  return `attempt ${attempt}` + (s.max_retries == null ? "" : ` of ${s.max_retries + 1}`);
}

/** @param {Snapshot} s @param {?number} at */
function inWords(s, at) {
  const wait = s.scheduled_for && at !== null ? Date.parse(s.scheduled_for) - at : 0;
  return wait > 0 ? `, in ${spanWords(wait)}` : "";
}

/** How it looks: "wait", "run", "good", "bad" or "over". @param {Snapshot} s */
export function mood({ state, cancel_requested: cancelling }) {
  if (state === "SUCCESS") return "good";
  if (state === "FAILURE" || state === "LOST") return "bad";
  if (["REVOKED", "IGNORED", "REJECTED"].includes(state)) return "over";
  return (state === "STARTED" || state === "PROGRESS") && !cancelling ? "run" : "wait";
}

/** "63 %". Only success is 100 %, and not before the last of its parts has ended. @param {Snapshot} s */
export function percentWords({ fraction, state }) {
  if (state === "SUCCESS" && (fraction ?? 1) === 1) return "100 %";
  return fraction == null ? "" : `${Math.min(99, Math.floor(fraction * 100 + 1e-9))} %`;
}

/** "630 of 1,000 rows". @param {Snapshot} s */
export function countWords({ current, total, unit }) {
  if (!current && total == null) return "";
  const all = total == null ? "" : ` of ${number.format(total)}`;
  const words = number.format(current) + all;
  return unit ? `${words} ${unit}` : words;
}

/** "5 of 8 parts, 1 failed": of the tasks that it has sent. @param {Snapshot} s */
export function partsWords({ children }) {
  if (!children) return "";
  const failed = children.failed ? `, ${number.format(children.failed)} failed` : "";
  return `${number.format(children.ended)} of ${number.format(children.known)} parts${failed}`;
}

/** The stage that runs, with those it is inside of: "write, header". @param {Snapshot} s */
export function stageWords({ stages, final }) {
  if (!stages || final) return "";
  return stages.filter((stage) => stage.state === "running").map((stage) => stage.name).join(", ");
}

/** "210 rows/s", "12 rows/min". @param {Snapshot} s */
export function rateWords(s) {
  if (!s.rate || s.rate <= 0 || mood(s) !== "run") return "";
  const [rate, per] =
    s.rate >= 0.95 ? [s.rate, "s"] : s.rate >= 0.95 / 60 ? [s.rate * 60, "min"] : [s.rate * 3600, "h"];
  const shown = number.format(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate));
  return s.unit ? `${shown} ${s.unit}/${per}` : `${shown}/${per}`;
}

/** "about 7 min left"; nothing before 3 s and 3 %. @param {Snapshot} s @param {?number} at */
export function etaWords(s, at) {
  const elapsed = elapsedMs(s, at);
  if (at === null || elapsed === null || mood(s) !== "run" || s.final) return "";
  if (elapsed < 3 * SECOND || s.fraction == null || s.fraction < 0.03 || s.fraction >= 1) return "";
  const then = Date.parse(s.updated_at);
  const whole =
    s.rate && s.total != null
      ? ((s.total - s.current) / s.rate) * SECOND
      : ((then - Date.parse(s.started_at ?? "")) * (1 - s.fraction)) / s.fraction;
  const left = Math.max(0, whole - Math.max(0, at - then));
  const minutes = Math.round(left / MINUTE);
  if (minutes >= 60) return `about ${Math.round(left / HOUR)} h left`;
  // 10 s steps, upwards: an end that comes early pleases, a late one does not.
  const seconds = Math.max(1, Math.ceil(left / SECOND / 10)) * 10;
  return seconds < 60 ? `about ${seconds} s left` : `about ${Math.max(1, minutes)} min left`;
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
  if (s.finished_at && elapsed < SECOND) return "took less than 1 s";
  return s.finished_at ? `took ${clockWords(elapsed)}` : `${clockWords(elapsed)} so far`;
}

/** "0:35", "12:05", "1:02:03". @param {number} ms */
export function clockWords(ms) {
  const seconds = Math.floor(ms / SECOND);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** "12 s", "5 min", "2 h", "3 d". @param {number} ms */
export function spanWords(ms) {
  const seconds = Math.max(0, Math.round(ms / SECOND));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/**
 * How old what is shown is, and why nothing newer is.
 * @param {Snapshot} s
 * @param {?number} at
 * @param {import("./protocol.d.ts").SocketState} socket
 */
export function ageWords(s, at, socket) {
  const age = at === null ? null : at - Date.parse(s.updated_at);
  if (socket === "refused") return "not connected any more: load the page again";
  if (socket === "offline" || socket === "stale") {
    const shown = age === null ? "an older state" : `the state of ${spanWords(age)} ago`;
    return `connection lost, showing ${shown}`;
  }
  if (age === null) return "";
  if (s.final) return `ended ${age < 10 * SECOND ? "just now" : `${spanWords(age)} ago`}`;
  return age < 2 * SECOND ? "updated just now" : `updated ${spanWords(age)} ago`;
}

/** Why a task cannot be shown, by the code of the refusal. @param {string} code */
export function refusalWords(code) {
  if (code === "expired") return "the right to watch it has ended: load the page again";
  if (code === "too_many") return "this page watches too many tasks";
  return "there is no such task, or it is not yours";
}

/** What became of asking to cancel. @param {string} answer */
export function cancelWords(answer) {
  if (answer === "unsent") return "not sent, no connection";
  return answer === "ended" ? "it has already ended" : "you may not cancel it";
}

/** Result or error of an ended task. @param {Snapshot} s */
export function outcomeWords({ state, result, error }) {
  if (error) return error.message || "The reason is not shown here.";
  if (state !== "SUCCESS" || result == null) return "";
  return typeof result === "string" ? result : JSON.stringify(result, null, 1);
}

/** One sentence for those who listen. @param {Snapshot} s @param {?number} at */
export function spoken(s, at) {
  const parts = [stateWords(s, at), s.final ? outcomeWords(s) : percentWords(s)];
  return `${s.title || s.name}: ${parts.filter(Boolean).join(", ")}`;
}
