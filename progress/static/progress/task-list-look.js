/**
 * How `<task-list>` looks: two sheets for all instances. One is for its own parts, one for the rows, which are
 * ordinary elements of the page; that one is in a layer, so that whatever a site says itself counts more.
 */

import { make } from "./nodes.js";

const own = sheetOf(`
:host { display: block }
:host([hidden]) { display: none }
::slotted(ul) { list-style: none; margin: 0; padding: 0 }
.head { margin-block-end: .75em; font-variant-numeric: tabular-nums }
.head:not(:has(:not([hidden]))) { display: none }
p { margin: 0; unicode-bidi: plaintext; text-align: match-parent; text-align: -webkit-match-parent; color: color-mix(in srgb, currentColor 72%, transparent) }
[hidden], slot[name="empty"][hidden] { display: none }
progress {
  --tone: var(--task-progress-accent, light-dark(#0f6f6a, #5cc9bd));
  appearance: none; display: block; inline-size: 100%; block-size: var(--task-list-bar-size, .875em);
  margin-block: 0 .4em; border: 0; border-radius: 1em;
  background: var(--task-progress-track, color-mix(in srgb, currentColor 13%, transparent));
}
progress.failed { --tone: var(--task-progress-bad, light-dark(#b3261e, #ff9d94)) }
progress::-webkit-progress-bar { background: none }
progress::-webkit-progress-value { background: var(--tone); border-radius: 1em }
progress::-moz-progress-bar { background: var(--tone); border-radius: 1em }
.live { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%) }
@media (forced-colors: active) {
  progress { appearance: auto; forced-color-adjust: none; --tone: Highlight; background: Canvas; outline: 1px solid CanvasText }
}
`);

// What is not on the screen is neither laid out nor painted. Its place is kept, or the scroll bar would jump.
const rows = sheetOf(`
@layer task-list {
  task-list > ul > li {
    padding-block: .9em 1em; border-block-end: 1px solid color-mix(in srgb, currentColor 15%, transparent);
    content-visibility: auto; contain-intrinsic-block-size: auto 4.5em; overflow-clip-margin: .5em;
  }
  task-list > ul > li:first-child { border-block-start: 1px solid color-mix(in srgb, currentColor 15%, transparent) }
}
`);

/** @param {string} css */
function sheetOf(css) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  return sheet;
}

/** @typedef {{head: HTMLElement, total: HTMLProgressElement, counts: HTMLElement, empty: HTMLSlotElement, live: HTMLElement}} Parts */

/** Build the shadow tree of a list. @param {HTMLElement} element @returns {Parts} */
export function build(element) {
  const root = element.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [own];
  const head = make("div", "head", "head");
  const total = /** @type {HTMLProgressElement} */ (make("progress", "total", "total"));
  const counts = make("p", "counts", "counts");
  const empty = /** @type {HTMLSlotElement} */ (make("slot", "empty", "empty"));
  const live = make("div", "live", "live");
  Object.assign(total, { max: 1, hidden: true });
  Object.assign(counts, { hidden: true });
  Object.assign(empty, { name: "empty", hidden: true });
  live.setAttribute("role", "status");
  head.append(total, counts);
  root.append(head, document.createElement("slot"), empty, live);
  return { head, total, counts, empty, live };
}

/** Let the rows of a list look like rows, in a page as within somebody's shadow tree. @param {HTMLElement} element */
export function dress(element) {
  const root = /** @type {Document | ShadowRoot} */ (element.getRootNode());
  if (!root.adoptedStyleSheets?.includes(rows)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, rows];
}
