/** Where the time of a finished run went: one strip, and the same as a list. What is not known is left out. */

import { clockWords } from "./more-words.js";
import { make } from "./nodes.js";
import { gettext } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {{kind: string, from: number, to: number, text: string}} Piece */

const LEAST = 1_000; // ms; who waited less has not waited

/** @param {HTMLElement} place @param {Snapshot} s */
export function paintTimeline(place, s) {
  const pieces = s.final ? piecesOf(s) : [];
  if (pieces.length < 2) return place.replaceChildren(); // the bar itself says that much
  const begin = Math.min(...pieces.map(({ from }) => from));
  const whole = Math.max(1, Math.max(...pieces.map(({ to }) => to)) - begin);
  const strip = make("div", "strip");
  const list = make("ul", "legend");
  strip.ariaHidden = "true"; // the list says it in words
  for (const { kind, from, to, text } of pieces) {
    const piece = make("span", `piece ${kind}`);
    piece.style.insetInlineStart = `${((from - begin) / whole) * 100}%`;
    piece.style.inlineSize = `${((to - from) / whole) * 100}%`;
    strip.append(piece);
    const [item, words] = [make("li", kind), make("span", "")];
    words.textContent = text;
    item.append(words);
    list.append(item);
  }
  place.replaceChildren(strip, list);
}

/**
 * Waiting, then the stages at the times they took, where those are told, else the whole run.
 * @param {Snapshot} s
 * @returns {Piece[]}
 */
export function piecesOf(s) {
  const [queued, started, ended] = [s.queued_at, s.started_at, s.finished_at].map((time) => Date.parse(time ?? ""));
  /** @type {Piece[]} */ const pieces = [];
  const waited = (started || ended) - queued;
  if (waited >= LEAST) {
    const values = { time: clockWords(waited) };
    const text = started ? gettext("waited %(time)s", values) : gettext("waited %(time)s and never started", values);
    pieces.push({ kind: "waited", from: queued, to: queued + waited, text });
  }
  if (!(ended >= started)) return pieces;
  const stages = (s.stages ?? []).filter((stage) => !stage.depth && stage.to != null && stage.from != null);
  stages.forEach((stage, n) => {
    const { name, state } = stage;
    const [from, to] = [Number(stage.from), Number(stage.to)];
    const text = gettext("%(name)s: %(time)s", { name, time: span(to - from) });
    const kind = state === "failed" ? "failed" : n % 2 ? "stage even" : "stage odd";
    pieces.push({ kind, from: started + from, to: started + Math.max(from, to), text });
  });
  if (!stages.length) {
    const values = { time: span(ended - started) };
    const failed = s.state === "FAILURE";
    const text = failed ? gettext("ran %(time)s until it failed", values) : gettext("ran %(time)s", values);
    pieces.push({ kind: failed ? "failed" : "stage odd", from: started, to: ended, text });
  }
  return pieces;
}

/** @param {number} ms */
const span = (ms) => (ms < LEAST ? gettext("less than 1 s") : clockWords(ms));
