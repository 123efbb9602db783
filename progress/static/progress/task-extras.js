/**
 * What is more than a plain bar. `task-progress.js` loads this when a bar needs it, and this loads what that bar
 * needs in its turn: the details, the button that cancels, the notice of an end. What could not be loaded is tried
 * again 5 s later, if it is needed then.
 */

import { elapsedWords, messageWords, partsWords, rateWords, refusalWords, stageWords } from "./more-words.js";
import { put } from "./nodes.js";
import { sheet } from "./task-extras-look.js";
import { ageWords } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {import("./progress-socket.js").ProgressSocket} ProgressSocket */
/** @typedef {import("./task-progress-look.js").Parts} Parts */
/** @typedef {import("./task-progress.js").TaskProgress} TaskProgress */
/**
 * What a bar shows just now.
 * @typedef {object} View
 * @property {string} id
 * @property {Snapshot} s
 * @property {string[]} may
 * @property {?number} at ms by the server's clock
 * @property {boolean} live
 * @property {boolean} compact
 * @property {ProgressSocket} socket
 * @property {Parts} part
 */

const AGAIN = 5_000; // ms

/** @type {Record<string, () => Promise<any>>} */
const loaders = {
  details: () => import("./task-details.js"),
  cancel: () => import("./task-cancel.js"),
  notice: () => import("./task-notice.js"),
};
/** @type {Map<string, any>} */ const loaded = new Map();
/** @type {Map<string, Set<TaskProgress>>} */ const awaited = new Map();

/** @param {string} name @param {boolean} needed @param {TaskProgress} element @returns {any} */
function part(name, needed, element) {
  if (loaded.has(name) || !needed) return loaded.get(name);
  const waiting = awaited.get(name);
  if (waiting) return void waiting.add(element);
  awaited.set(name, new Set([element]));
  loaders[name]().then(
    (module) => {
      loaded.set(name, module);
      for (const each of awaited.get(name) ?? []) if (each.isConnected) each.handleEvent();
      awaited.delete(name);
    },
    () => setTimeout(() => awaited.delete(name), AGAIN),
  );
}

/**
 * Something about a bar's task changed; called while the page is hidden, too.
 * @param {TaskProgress} element
 * @param {Parts} parts
 * @param {ProgressSocket} socket
 * @param {string} id
 * @param {boolean} waited its task was seen unfinished
 */
export function attend(element, parts, socket, id, waited) {
  const { snapshot, refused } = socket.task(id);
  const note = loaded.get("cancel")?.noteOf(element);
  // That a wish could not be sent is no answer to how old all this is.
  const age = note && snapshot && socket.state !== "live" ? ageWords(snapshot, socket.serverTime, socket.state) : "";
  parts.note = refused ? refusalWords(refused) : joined(note, age);
  Object.assign(parts, snapshot ? wordsOf(snapshot, element, socket) : { rate: "", elapsed: "", aside: "", said: "" });
  const needed = element.hasAttribute("notify") || element.hasAttribute("success-url");
  part("notice", needed, element)?.attend(element, parts, snapshot, waited);
}

/** How fast, how long: for a task that counts, or does not know its end. @param {Snapshot} s */
const isTimed = (s) => Boolean(s.final || s.rate || (s.started_at && s.fraction == null));

/**
 * What the lines of the bar say besides; it stands in one text with the rest, so that nothing is pushed about.
 * @param {Snapshot} s
 * @param {TaskProgress} element
 * @param {ProgressSocket} socket
 */
function wordsOf(s, element, socket) {
  const [live, at, said] = [socket.state === "live", socket.serverTime, messageWords(s)];
  if (element.hasAttribute("compact")) return { rate: "", elapsed: "", aside: joined(stageWords(s), partsWords(s)), said };
  const elapsed = live && isTimed(s) ? elapsedWords(s, at) : "";
  return { rate: rateWords(s, at, live), elapsed, aside: "", said };
}

/** @param {(string | undefined)[]} texts */
const joined = (...texts) => texts.filter(Boolean).join(" · ");

/** What may be cut where it does not fit, in full. @param {Parts} parts @param {boolean} compact */
function entitle(parts, compact) {
  for (const name of ["count", "eta", "message", "words", "updated"]) put(parts[name], parts[name].textContent, "title");
  put(parts.name, compact ? parts.heading.textContent : "", "title"); // else it takes as many lines as it needs
}

/**
 * The bar is being painted.
 * @param {TaskProgress} element
 * @param {Parts} parts
 * @param {ProgressSocket} socket
 * @param {string} id
 */
export function paint(element, parts, socket, id) {
  const compact = element.hasAttribute("compact");
  adopt(/** @type {ShadowRoot} */ (element.shadowRoot), sheet);
  entitle(parts, compact);
  const { snapshot: s, may } = socket.task(id);
  if (!s) {
    parts.cancel.hidden = true;
    return loaded.get("details")?.clear(element);
  }
  const view = { id, s, may, at: socket.serverTime, live: socket.state === "live", compact, socket, part: parts };
  part("cancel", !compact && may.includes("cancel") && !s.final, element)?.paint(element, view);
  const more = !compact && Boolean(s.stages?.length || s.children || s.final);
  const details = part("details", more, element);
  if (more) details?.paint(element, view);
  else details?.clear(element);
}

/** The bar leaves the page, perhaps only for a moment. @param {TaskProgress} element */
export function leave(element) {
  for (const waiting of awaited.values()) waiting.delete(element);
  for (const module of loaded.values()) module.leave(element);
}

/** @param {ShadowRoot} root @param {CSSStyleSheet} sheet */
export function adopt(root, sheet) {
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
}
