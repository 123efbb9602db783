/** How `<task-progress>` looks where it is more than a plain bar: without an end in sight, focused, compact. */

export const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
:indeterminate::-moz-progress-bar { background: none }
.run :indeterminate {
  background: linear-gradient(90deg, transparent 30%, var(--tone) 50%, transparent 70%) 50% / 200% var(--track);
  animation: sweep 2s linear infinite;
}
@keyframes sweep { from { background-position: 140% } to { background-position: -40% } }
@media (prefers-reduced-motion) {
  .run :indeterminate { animation: none }
}

/* A message is read, and cut, as its own words run, in a page of the other direction, too. */
.text { unicode-bidi: plaintext; text-align: match-parent; text-align: -webkit-match-parent }
.text .message { unicode-bidi: normal }
.row :is(.facts, .pace, .age):dir(rtl) { white-space: normal; overflow-wrap: anywhere } /* cut, they would lose their beginning */

/* Of a thousand rows only those in sight are laid out. */
:host([compact]) {
  --task-progress-bar-size: .4em;
  content-visibility: auto; contain-intrinsic-block-size: auto 4.5em; overflow-clip-margin: .4em;
}
:host([compact]) .title { white-space: nowrap; line-height: 1.5 }
@container (width < 40rem) {
  :host([compact]) .row { grid-template-columns: minmax(0, 1fr) auto }
  :host([compact]) .ages { grid-template-columns: fit-content(100%) minmax(0, 1fr) }
  :host([compact]) .lost .ages { grid-template-columns: minmax(0, 1fr) }
  :host([compact]) :is(.facts, .pace, .state, .age) { font-size: .875em }
  :host([compact]) :is(.pace, .age) { text-align: end }
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

/* Filled while it is well, hollow while it waits; what failed is square and hatched, in whatever colours there are. */
@media (forced-colors: active) {
  .state::before { --tone: Highlight; forced-color-adjust: none }
  :is(.over, .wait) .state::before { --tone: CanvasText }
  .bad .state::before { --tone: CanvasText; border-radius: 0 }
  .bad .bar, .line.failed .mini { --tone: repeating-linear-gradient(135deg, CanvasText 0 4px, Canvas 4px 8px) }
}
`);
