/**
 * How `<task-progress>` looks, as a sheet that its instances share: no style attribute, no style element, so
 * it works under `default-src 'self'`. Colours follow the page: text is what the page's text is, and custom
 * properties change the rest. Each line has its place from the start: nothing moves while the bar does.
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
.box {
  display: grid;
  gap: .1em 1em;
  grid-template: "title cancel" minmax(2.25em, auto) "bar bar" auto "facts pace" 1.5em "text text" auto
    "state age" 1.5em "outcome outcome" auto / 1fr auto;
  align-items: center;
  font-variant-numeric: tabular-nums;
}
.box > *, .title > * { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.title { grid-area: title; font-weight: 600; font-size: var(--task-progress-title-size, 1em) }
.title a { color: inherit; text-decoration-thickness: 1px; text-underline-offset: .2em }
.facts { grid-area: facts }
.percent { display: inline-block; min-width: 3.2em; font-weight: 600 }
.percent:empty { display: none }
.pace, .age, .facts, .text { color: var(--soft) }
.percent { color: CanvasText; color: inherit }
.pace { grid-area: pace; text-align: end }
.text { grid-area: text; min-height: 1.5em }
.state { grid-area: state }
.state::before {
  content: ""; display: inline-block; inline-size: .55em; block-size: .55em; margin-inline-end: .5em;
  border: 2px solid var(--tone); border-radius: 50%; background: var(--tone);
}
.wait .state::before { background: none }
.wait { --tone: var(--soft) }
.over { --tone: var(--soft) }
.bad { --tone: var(--bad) }
.bad .state, .lost .age { color: var(--bad) }
.age { grid-area: age; text-align: end }
.pace > * + :not(:empty)::before, .age > * + :not(:empty)::before { content: "· " }
.pace > :empty + ::before, .age > :empty + ::before { content: none !important }
.outcome {
  grid-area: outcome; margin: .5em 0 0; padding: .6em .8em; border-inline-start: 3px solid var(--tone);
  background: color-mix(in srgb, currentColor 5%, transparent);
  font: inherit; white-space: pre-wrap; overflow-wrap: anywhere;
}
.outcome:empty { display: none }
progress {
  grid-area: bar; appearance: none; inline-size: 100%; block-size: var(--task-progress-bar-size, .625em);
  border: 0; border-radius: 1em; background: var(--track); color: var(--tone);
}
progress::-webkit-progress-bar { background: none }
progress::-webkit-progress-value { background: var(--tone); border-radius: 1em; transition: inline-size .25s linear }
progress::-moz-progress-bar { background: var(--tone); border-radius: 1em }
progress:indeterminate::-moz-progress-bar { background: none }
.run progress:indeterminate {
  background: linear-gradient(90deg, transparent 30%, var(--tone) 50%, transparent 70%) 0 / 200% var(--track);
  animation: sweep 2s linear infinite;
}
@keyframes sweep { from { background-position: 150% 0 } to { background-position: -50% 0 } }
button {
  grid-area: cancel; font: inherit; font-size: .875em; color: inherit; background: none; cursor: pointer;
  min-block-size: 2.25em; padding: 0 1em; border: 1px solid var(--soft); border-radius: .4em;
}
button:hover { border-color: currentColor; background: var(--track) }
button:disabled { opacity: .6; cursor: default }
.box > button[hidden] { display: block; visibility: hidden }
:is(a, button):focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
.live { position: absolute; inline-size: 1px; block-size: 1px; clip-path: inset(50%) }

:host([compact]) .box {
  grid-template: "title title state" auto "bar bar bar" auto "facts pace age" 1.5em / auto 1fr auto;
}
:host([compact]) :is(.text, .rate, .outcome, .box > button) { display: none }
:host([compact]) { --task-progress-bar-size: .4em }
:host([compact]) .pace { text-align: start }
:host([compact]) .elapsed { display: none }

@container (width < 30rem) {
  .box {
    grid-template: "title cancel" minmax(2.25em, auto) "bar bar" auto "facts facts" 1.5em "pace pace" 1.5em
      "text text" auto "state state" 1.5em "age age" 1.5em "outcome outcome" auto / 1fr auto;
  }
  .pace, .age { text-align: start }
  :host([compact]) .box {
    grid-template: "title title" auto "state pace" 1.5em "bar bar" auto "facts age" 1.5em / 1fr auto;
  }
  :host([compact]) .pace { text-align: end }
}
@media (prefers-reduced-motion: reduce) {
  progress::-webkit-progress-value { transition: none }
  .run progress:indeterminate { animation: none; background-position: 50% 0 }
}
@media (forced-colors: active) {
  progress { appearance: auto; forced-color-adjust: none; background: Canvas; --tone: Highlight; outline: 1px solid }
}
`;

export const sheet = new CSSStyleSheet();
sheet.replaceSync(css);
