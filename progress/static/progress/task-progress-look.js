/** One constructed sheet and no style attribute: the strictest policies allow it. */

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host {
  --accent: var(--task-progress-accent, light-dark(#0f6f6a, #5cc9bd));
  --bad: var(--task-progress-bad, light-dark(#b3261e, #ff9d94));
  --track: var(--task-progress-track, color-mix(in srgb, currentColor 13%, transparent));
  --soft: color-mix(in srgb, currentColor 72%, transparent);
  --tone: var(--accent);
  container-type: inline-size; display: block; line-height: 1.5;
}
:host([hidden]) { display: none }
.box { display: grid; gap: .15em; font-variant-numeric: tabular-nums }
.row { display: grid; grid-template-columns: 3fr 2fr; gap: 0 1em }
.head, .lost .ages { grid-template-columns: 1fr auto }
.row div, .text { min-block-size: 1.5em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.row .title {
  font-size: var(--task-progress-title-size, 1em); font-weight: 600; line-height: 1.3;
  white-space: normal; overflow-wrap: anywhere;
}
a, span { unicode-bidi: plaintext }
a { color: inherit }
.count, .pace, .text, .age { color: var(--soft) }
.pace, .age { text-align: end }
.percent:not(:empty) { display: inline-block; min-inline-size: 3em; margin-inline-end: .5em; font-weight: 600 }
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
progress {
  appearance: none; inline-size: 100%; block-size: var(--task-progress-bar-size, .625em);
  margin-block: .4em .3em; border: 0; border-radius: 1em; background: var(--track);
}
::-webkit-progress-bar { background: none }
::-webkit-progress-value { background: var(--tone); border-radius: 1em }
::-moz-progress-bar { background: var(--tone); border-radius: 1em }
.cancel { min-inline-size: 6em; min-block-size: 2.25em; font-size: .875em }
.cancel[hidden] { display: block; visibility: hidden }
.live { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; opacity: 0 }
:host([compact]) :is(.text, .cancel) { display: none }
@container (width < 40rem) {
  .row:not(.head) { grid-template-columns: 100% }
  .pace, .age { text-align: start }
  .row div { white-space: normal }
}
@media (forced-colors: active) {
  progress { --tone: Highlight; forced-color-adjust: none; outline: 1px solid }
}`);

/** @typedef {Record<string, any>} Parts */

/** @param {HTMLElement} element */
export function build(element) {
  /** @type {Parts} */ const parts = {};
  /** @param {string} tag @param {string} name @param {...Node} inside */
  const make = (tag, name, ...inside) => {
    /** @type {any} */ const node = (parts[name] = document.createElement(tag));
    node.className = node.part = name;
    node.append(...inside);
    return node;
  };
  const root = element.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  root.append(
    make(
      "div",
      "box",
      make("div", "row head", make("div", "title", make("a", "name", make("slot", "heading"))), make("button", "cancel")),
      make("progress", "bar"),
      make("div", "row", make("div", "facts", make("span", "percent"), make("span", "count")), make("div", "pace", make("span", "eta"))),
      make("div", "text", make("span", "message")),
      make("div", "row ages", make("div", "state", make("span", "words")), make("div", "age", make("span", "updated"))),
      make("div", "live"),
    ),
  );
  parts.heading.name = "title";
  parts.bar.setAttribute("aria-labelledby", (parts.name.id = "name"));
  parts.live.ariaLive = "polite";
  parts.cancel.hidden = true;
  return parts;
}
