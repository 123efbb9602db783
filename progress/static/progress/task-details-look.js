/** How the details of `<task-progress>` look. */

export const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.details { display: grid; grid-template-columns: minmax(0, 1fr); gap: .9em; margin-block-start: .6em }
.details[hidden], .details > :empty, .details > [hidden] { display: none }
.details:not(:has(> :not(:empty, [hidden]))) { display: none }
.outcome {
  margin: 0; padding: .6em .8em; border-inline-start: 3px solid var(--tone);
  background: color-mix(in srgb, currentColor 5%, transparent);
  font: inherit; white-space: pre-wrap; unicode-bidi: plaintext; overflow-wrap: anywhere;
}
.rest { unicode-bidi: plaintext; text-align: match-parent; text-align: -webkit-match-parent }
.details :is(ol, ul) { list-style: none; margin: 0; padding: 0 }
.list .list { padding-inline-start: 1.2em }
.rest { margin: .2em 0 0; color: var(--soft) }
.rest:empty { display: none }
.line {
  --tone: var(--soft);
  display: grid; grid-template-columns: minmax(0, 2fr) minmax(3em, 1fr) minmax(0, 1.4fr) 5.5em; gap: 0 1em;
  align-items: center; padding-block: .15em;
}
.line.running, .line.done { --tone: var(--accent) }
.line.failed { --tone: var(--bad) }
.line.running .stage-name { font-weight: 600 }
.stage-name, .member-name { min-inline-size: 0; overflow-wrap: anywhere }
.mini { --task-progress-bar-size: .35em; margin: 0; min-inline-size: 0 }
.number, .word { color: var(--soft) }
.number { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.line > span { justify-self: start; max-inline-size: 100% }
.line .word { justify-self: end }
.failed .word, .bad .word { color: var(--bad) }

.strip {
  position: relative; block-size: 1em; overflow: hidden;
  border-radius: .3em; background: var(--track);
}
.piece { position: absolute; inset-block: 0; min-inline-size: 2px; background: var(--accent) }
.piece.waited {
  background: repeating-linear-gradient(135deg, var(--soft) 0 1px, transparent 1px 5px);
}
.piece.even { background: color-mix(in srgb, var(--accent) 60%, transparent) }
.piece.failed { background: var(--bad) }
.details .legend { display: flex; flex-wrap: wrap; gap: 0 1.25em; margin-block-start: .35em; color: var(--soft) }
.legend li::before {
  content: ""; display: inline-block; inline-size: .7em; block-size: .7em; margin-inline-end: .45em;
  border-radius: .15em; background: var(--accent);
}
.legend .even::before { background: color-mix(in srgb, var(--accent) 60%, transparent) }
.legend .failed::before { background: var(--bad) }
.legend .waited::before { background: repeating-linear-gradient(135deg, var(--soft) 0 1px, transparent 1px 4px) }

summary { cursor: pointer; inline-size: fit-content }
.members { display: grid; gap: .5em }
.details .members { margin-block-start: .6em }
.member {
  --tone: var(--accent);
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 1em; align-items: center;
}
.member.wait, .member.over { --tone: var(--soft) }
.member.bad { --tone: var(--bad) }
.member-text { display: flex; justify-content: space-between; gap: 0 1em; min-inline-size: 0 }
.member-text .word { text-align: end; white-space: nowrap }
.lane { position: relative; block-size: .6em; border-radius: .3em; background: var(--track) }
.run-piece {
  position: absolute; inset-block: 0; min-inline-size: 3px; overflow: hidden; border-radius: .3em;
  background: color-mix(in srgb, var(--tone) 35%, transparent);
}
.run-piece[hidden] { display: none }
.fill { block-size: 100%; background: var(--tone) }
@container (width < 40rem) {
  .line { grid-template-columns: minmax(0, 1fr) auto; padding-block: .25em }
  .line .word { order: 1 }
  .line .mini { order: 2; inline-size: 100% }
  .line .number { order: 3 }
  .member { grid-template-columns: minmax(0, 1fr) }
}
@media (forced-colors: active) {
  .piece, .fill, .legend li::before { forced-color-adjust: none; background: Highlight }
  .piece.waited, .legend .waited::before { background: GrayText }
  .piece.even, .legend .even::before { background: LinkText }
  .piece.failed, .bad .fill, .legend .failed::before { background: repeating-linear-gradient(135deg, CanvasText 0 4px, Canvas 4px 8px) }
  .strip, .lane { outline: 1px solid }
}
`);
