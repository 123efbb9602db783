/** The stages of a task as a list in lists: each with its name, a bar, what it has counted, and its state in words. */

import { make, put } from "./nodes.js";
import { countWords, gettext } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {import("./protocol.d.ts").Stage} Stage */
/** @typedef {{line: HTMLElement, bar: HTMLProgressElement, count: HTMLElement, state: HTMLElement}} Row */

/** @type {WeakMap<HTMLElement, {shape: string, rows: Row[], more: HTMLElement}>} */ const built = new WeakMap();

/** @param {HTMLElement} place @param {Snapshot} s */
export function paintStages(place, s) {
  const stages = s.stages ?? [];
  const shape = JSON.stringify(stages.map(({ name, depth }) => [name, depth]));
  let list = built.get(place);
  if (list?.shape !== shape) {
    list = build(place, stages, shape);
    built.set(place, list);
  }
  list.rows.forEach((row, n) => paintRow(row, stages[n], s.final));
  const left = s.stages_left_out;
  put(list.more, left ? gettext("and %(count)s more", { count: left }) : "");
}

/** @param {HTMLElement} place @param {Stage[]} stages @param {string} shape */
function build(place, stages, shape) {
  const lists = [make("ol", "list")];
  /** @type {HTMLElement[]} */ const items = [];
  const rows = stages.map((stage) => {
    const depth = Math.max(0, Math.min(stage.depth ?? 0, items.length));
    if (depth && !lists[depth]) items[depth - 1].append((lists[depth] = make("ol", "list")));
    lists.length = depth + 1;
    const line = make("div", "line", "stage");
    const row = { line, bar: /** @type {HTMLProgressElement} */ (make("progress", "mini")), count: make("span", "number"), state: make("span", "word") };
    const name = make("span", "stage-name");
    name.textContent = stage.name;
    row.bar.ariaHidden = "true"; // its row says it in words
    line.append(name, row.bar, row.count, row.state);
    items[depth] = make("li", "item");
    items.length = depth + 1;
    items[depth].append(line);
    lists[depth].append(items[depth]);
    return row;
  });
  const more = make("p", "rest");
  place.replaceChildren(...(stages.length ? [lists[0], more] : []));
  return { shape, rows, more };
}

/** @param {Row} row @param {Stage} stage @param {boolean} final */
function paintRow(row, stage, final) {
  const { state, current, total } = stage;
  put(row.line, `line ${state}`, "className");
  put(row.count, countWords(/** @type {any} */ ({ current, total })));
  put(row.state, stateWords(state));
  const fraction = state === "done" ? 1 : total ? Math.min(1, current / total) : state === "running" && !final ? null : 0;
  if (fraction === null) row.bar.removeAttribute("value");
  else row.bar.value = fraction;
}

/** @param {Stage["state"]} state */
function stateWords(state) {
  if (state === "done") return gettext("done");
  if (state === "failed") return gettext("failed");
  return state === "running" ? gettext("running") : gettext("waiting");
}
