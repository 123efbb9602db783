/** What a plain bar says; more-words.js adds the rest. `at`: server's time, ms. */

/** @import { Gettext, Say } from "./protocol.d.ts" */

export let language = "en"; // also in Node
try {
  [language] = Intl.getCanonicalLocales(document.documentElement.lang);
} catch {}

/** @type {Gettext} */
export const gettext = (text, values) =>
  (globalThis.django?.gettext?.(text) ?? text).replace(/%\((\w+)\)s/g, (_, name) => values[name].toLocaleString(language));

/** @type {{ stateWords?: Say }} */
export const rest = {};

/** @type {Say<number>} */
const age = (s, at) => Number(at) - Date.parse(s.updated_at);

/** @type {Say<boolean>} */
export const isPlain = (s, at) =>
  s.attempt === Number(mood(s) === "run") &&
  !(s.final || s.waits_for || s.unserved || s.scheduled_for || s.cancel_requested || s.stall_after) &&
  !(age(s, at) >= 6e4);

/** @type {Say} */
export function stateWords(s, at, live) {
  if (rest.stateWords) return rest.stateWords(s, at, live);
  const look = mood(s);
  if (look === "run") return gettext("running");
  if (look === "good") return gettext("done");
  return s.attempt || s.final ? s.state.toLowerCase() : gettext("waiting for a worker");
}

/** @type {Say} */
export function mood({ state, final, cancel_requested }) {
  if (state === "STARTED" || state === "PROGRESS") return cancel_requested ? "wait" : "run";
  if (state === "FAILURE" || state === "LOST") return "bad";
  if (state === "SUCCESS") return "good";
  return final ? "over" : "wait";
}

/** @type {Say} */
export function percentWords({ fraction, state }) {
  const most = state === "SUCCESS" ? 100 : 99;
  const percent = Math.floor((fraction ?? (most > 99 ? 1 : NaN)) * 100 + 1e-9);
  return percent >= 0 ? gettext("%(percent)s %", { percent: Math.min(most, percent) }) : "";
}

/** @type {Say} */
export function countWords(s) {
  if (!s.current && s.total == null) return "";
  const count = s.total == null ? s.current.toLocaleString(language) : gettext("%(current)s of %(total)s", s);
  return s.unit ? `${count} ${s.unit}` : count;
}

/** @type {Say} */
export function etaWords(s, at) {
  const fraction = s.fraction ?? 0;
  const elapsed = Number(at) - Date.parse(`${s.started_at}`);
  if (!(elapsed >= 3e3 && fraction >= 0.03 && fraction < 1 && age(s, at) < 5e3 + 3e3 / (s.rate ?? 0) && mood(s) === "run")) return "";
  const whole =
    s.rate && s.total ? ((s.total - s.current) / s.rate) * 1e3 : (elapsed - age(s, at)) * (1 / fraction - 1);
  const left = Math.max(1, whole - age(s, at));
  const time = spanWords(left > 5e4 ? Math.max(6e4, left) : Math.ceil(left / 1e4) * 1e4);
  return gettext("about %(time)s left", { time });
}

/** @type {(ms: number) => string} */
export function spanWords(ms) {
  let n = Math.max(0, Math.round(ms / 1e3));
  if (n < 60) return gettext("%(n)s s", { n });
  n = Math.round(ms / 6e4);
  if (n < 60) return gettext("%(n)s min", { n });
  n = Math.round(ms / 36e5);
  return n < 48 ? gettext("%(n)s h", { n }) : gettext("%(n)s d", { n: Math.round(ms / 864e5) });
}

/** @type {Say} */
export function ageWords(s, at, socket) {
  if (socket === "refused") return gettext("not connected any more: load the page again");
  const lost = socket === "offline" || socket === "stale";
  if (at == null) return lost ? gettext("no connection, showing an older state") : "";
  const time = { time: spanWords(age(s, at)) };
  if (lost) return gettext("connection lost, showing the state of %(time)s ago", time);
  const now = age(s, at) < 2e3;
  if (s.final) return now ? gettext("ended just now") : gettext("ended %(time)s ago", time);
  return now ? gettext("updated just now") : gettext("updated %(time)s ago", time);
}

/** @type {Say} */
export function spoken(s, at) {
  const more = s.final ? s.error?.message : percentWords(s);
  return `${s.title || s.name}: ${stateWords(s, at)}${more ? gettext(", ") + more : ""}`;
}
