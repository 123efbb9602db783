/**
 * What there is to see of a task beyond its bar: stages, the tasks that it has sent, what came out, and when it has
 * ended a strip of where its time went. Texts are set as text; places by CSSOM, which the strictest policies allow.
 */

import { outcomeWords } from "./more-words.js";
import { make, put } from "./nodes.js";
import { sheet } from "./task-details-look.js";
import { adopt } from "./task-extras.js";
import { Members } from "./task-members.js";
import { paintStages } from "./task-stages.js";
import { paintTimeline } from "./task-timeline.js";

/** @typedef {import("./task-extras.js").View} View */
/** @typedef {import("./task-progress.js").TaskProgress} TaskProgress */
/** @typedef {{seq: number, all: HTMLElement, stages: HTMLElement, timeline: HTMLElement, outcome: HTMLElement}} Nodes */
/** @typedef {Nodes & {members: Members}} Body */

/** @type {WeakMap<TaskProgress, Body>} */ const bodies = new WeakMap();

/** @param {TaskProgress} element @param {View} view */
export function paint(element, view) {
  const { s } = view;
  const body = bodies.get(element) ?? build(element, view);
  body.members.paint(view);
  if (body.seq === s.seq) return;
  body.seq = s.seq;
  paintStages(body.stages, s);
  paintTimeline(body.timeline, s);
  const outcome = s.final ? outcomeWords(s) : "";
  put(body.outcome, outcome === s.message ? "" : outcome);
}

/** There is nothing to show below the bar, any more or yet. @param {TaskProgress} element */
export function clear(element) {
  const body = bodies.get(element);
  if (!body) return;
  body.members.close();
  body.all.remove();
  bodies.delete(element);
}

/** @param {TaskProgress} element */
export function leave(element) {
  bodies.get(element)?.members.unwatch();
}

/** @param {TaskProgress} element @param {View} view @returns {Body} */
function build(element, { part }) {
  adopt(/** @type {ShadowRoot} */ (element.shadowRoot), sheet);
  const body = {
    seq: 0,
    all: make("div", "details", "details"),
    stages: make("div", "stages", "stages"),
    timeline: make("div", "timeline", "timeline"),
    outcome: make("pre", "outcome", "outcome"),
    members: new Members(() => element.handleEvent()),
  };
  body.all.append(body.outcome, body.timeline, body.stages, body.members.node);
  part.live.before(body.all);
  bodies.set(element, body);
  return body;
}
