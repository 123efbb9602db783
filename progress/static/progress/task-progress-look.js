/**
 * How `<task-progress>` looks: its parts, and one sheet for all instances. There is no style attribute and
 * no style element, so it works under `default-src 'self'`. Colours follow the page: text is what the page's
 * text is, custom properties change the rest. Each line has its place from the start: nothing moves while
 * the bar does.
 */

const css = `
:host {
  --accent: var(--task-progress-accent, light-dark(#0f6f6a, #5cc9bd));
  --bad: var(--task-progress-bad, light-dark(#b3261e, #ff9d94));
  --track: var(--task-progress-track, color-mix(in srgb, currentColor 13%, transparent));
  --soft: color-mix(in srgb, currentColor 72%, transparent);
  --tone: var(--accent);
  container-type: inline-size;
  display: block;
  line-height: 1.5;
}
:host([hidden]) { display: none }
.box { display: grid; gap: .15em; font-variant-numeric: tabular-nums }
.row { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 1em }
.head { grid-template-columns: minmax(0, 1fr) auto }
.lost .ages { grid-template-columns: auto minmax(0, 1fr) }
.title, .facts, .pace, .text, .state, .age {
  min-inline-size: 0; min-block-size: 1.5em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.title {
  font-weight: 600; font-size: var(--task-progress-title-size, 1em); line-height: 1.3;
  white-space: normal; overflow-wrap: anywhere;
}
a {
  color: inherit; text-underline-offset: .2em;
  text-decoration: underline 1px color-mix(in srgb, currentColor 45%, transparent);
}
a:hover { text-decoration-color: currentColor }
.count, .pace, .text, .age { color: var(--soft) }
.percent { font-weight: 600 }
.percent:not(:empty) { display: inline-block; min-inline-size: 3.1em; margin-inline-end: .4em }
.pace, .age { text-align: end }
.text {
  --lines: var(--task-progress-text-lines, 1);
  block-size: calc(1.5em * var(--lines)); white-space: normal; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: var(--lines);
}
.state::before {
  content: ""; display: inline-block; inline-size: .6em; block-size: .6em; margin-inline-end: .5em;
  border: 2px solid var(--tone); border-radius: 50%; background: var(--tone);
}
.wait, .over { --tone: var(--soft) }
.wait .state::before { background: none }
.bad { --tone: var(--bad) }
.bad .state, .lost .age { color: var(--bad) }
.outcome {
  margin: .6em 0 0; padding: .6em .8em; border-inline-start: 3px solid var(--tone);
  background: color-mix(in srgb, currentColor 5%, transparent);
  font: inherit; white-space: pre-wrap; overflow-wrap: anywhere;
}
.outcome:empty { display: none }
progress {
  appearance: none; inline-size: 100%; block-size: var(--task-progress-bar-size, .625em);
  margin-block: .4em .3em; border: 0; border-radius: 1em; background: var(--track); color: var(--tone);
}
progress::-webkit-progress-bar { background: none }
progress::-webkit-progress-value {
  background: var(--tone); border-radius: 1em; transition: inline-size .25s linear;
}
progress::-moz-progress-bar { background: var(--tone); border-radius: 1em }
progress:indeterminate::-moz-progress-bar { background: none }
.run progress:indeterminate {
  background: linear-gradient(90deg, transparent 30%, var(--tone) 50%, transparent 70%) 0 / 200% var(--track);
  animation: sweep 2s linear infinite;
}
@keyframes sweep { from { background-position: 150% 0 } to { background-position: -50% 0 } }
button {
  align-self: start; font: inherit; font-size: .875em; color: inherit; background: none; cursor: pointer;
  min-block-size: 2.25em; padding: 0 1em; border: 1px solid var(--soft); border-radius: .4em;
}
button:hover { border-color: currentColor; background: var(--track) }
button:disabled { opacity: .6; cursor: default }
button[hidden] { display: block; visibility: hidden }
:is(a, button):focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
.live { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%) }

:host([compact]) { --task-progress-bar-size: .4em }
:host([compact]) :is(.text, .outcome, button) { display: none }
:host([compact]) .title { white-space: nowrap; line-height: 1.5 }

@container (width < 40rem) {
  :host(:not([compact])) .row:not(.head) { grid-template-columns: minmax(0, 1fr) }
  :host(:not([compact])) :is(.pace, .age) { text-align: start }
  :host([compact]) .row { grid-template-columns: minmax(0, 1fr) auto }
  :host([compact]) .ages { grid-template-columns: fit-content(100%) minmax(0, 1fr) }
  :host([compact]) .lost .ages { grid-template-columns: minmax(0, 1fr) }
  :host([compact]) :is(.facts, .pace, .state, .age) { font-size: .875em }
  :host([compact]) .lost .age { text-align: start }
}
@container (width >= 40rem) {
  :host([compact]) .box {
    grid: "title title state" auto "bar bar bar" auto "facts pace age" auto / auto 1fr auto; column-gap: 1em;
  }
  :host([compact]) .row { display: contents }
  :host([compact]) .title { grid-area: title }
  :host([compact]) .state { grid-area: state; text-align: end }
  :host([compact]) progress { grid-area: bar }
  :host([compact]) .facts { grid-area: facts }
  :host([compact]) .pace { grid-area: pace; text-align: start }
  :host([compact]) .age { grid-area: age }
}
@media (prefers-reduced-motion: reduce) {
  progress::-webkit-progress-value { transition: none }
  .run progress:indeterminate { animation: none; background-position: 50% 0 }
}
@media (forced-colors: active) {
  progress {
    appearance: auto; forced-color-adjust: none; --tone: Highlight; background: Canvas; outline: 1px solid;
  }
}
`;

const sheet = new CSSStyleSheet();
sheet.replaceSync(css);

/** @typedef {"box" | "title" | "name" | "cancel" | "bar" | "percent" | "count" | "pace"} Upper */
/** @typedef {Record<Upper | "text" | "state" | "age" | "outcome" | "live", any>} Parts */

/**
 * Build the shadow tree of an element.
 * @param {HTMLElement} element
 * @returns {Parts} Its parts by name.
 */
export function build(element) {
  const root = element.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  const parts = /** @type {Parts & Record<string, any>} */ ({});
  /** @param {string} tag @param {string} name @param {...Node} inside */
  const make = (tag, name, ...inside) => {
    const node = document.createElement(tag);
    node.className = name;
    if (!name.startsWith("row")) {
      parts[name] = node;
      node.setAttribute("part", name);
    }
    node.append(...inside);
    return node;
  };
  const link = element.hasAttribute("href") ? "a" : "span";
  const facts = make("div", "facts", make("span", "percent"), make("span", "count"));
  const box = make(
    "div",
    "box",
    make("div", "row head", make("div", "title", make(link, "name")), make("button", "cancel")),
    make("progress", "bar"),
    make("div", "row", facts, make("div", "pace")),
    make("div", "text"),
    make("div", "row ages", make("div", "state"), make("div", "age")),
    make("pre", "outcome"),
    make("div", "live"),
  );
  parts.name.id = "name";
  parts.bar.max = 1;
  parts.bar.setAttribute("aria-labelledby", "name");
  parts.live.setAttribute("aria-live", "polite");
  Object.assign(parts.cancel, { type: "button", textContent: "Cancel", hidden: true });
  const level = element.getAttribute("heading");
  if (level) Object.assign(parts.title, { role: "heading", ariaLevel: level });
  root.append(box);
  return parts;
}
