import assert from "node:assert/strict";
import { test } from "node:test";

import { countsOf, countsOfStates, countsWords, endedWords, totalOf } from "../../progress/static/progress/list-words.js";

/** @param {string} state @param {?number} fraction @param {boolean} final */
const run = (state, fraction = null, final = false) => ({ state, fraction, final });

test("each run counts the same, what is unknown counts as nothing, what has ended in full", () => {
  const runs = [run("PROGRESS", 0.5), run("PENDING"), run("SUCCESS", 1, true), run("FAILURE", 0.2, true)];
  assert.deepEqual(totalOf(runs), { value: 0.625, words: "2 of 4 ended, 1 failed", failed: 1 });
});

test("being cancelled is no failure, and the end is whole", () => {
  assert.deepEqual(totalOf([run("REVOKED", null, true)]), { value: 1, words: "1 of 1 ended", failed: 0 });
});

test("no run at all is no progress and no division by nothing", () => {
  assert.deepEqual(totalOf([]), { value: 0, words: "0 of 0 ended", failed: 0 });
});

test("what there is none of is not said, and trouble comes before what is done", () => {
  const runs = ["SUCCESS", "FAILURE", "PROGRESS", "STARTED", "RETRY", "LOST"].map((state) => run(state));
  assert.equal(countsWords(countsOf(runs)), "2 running, 1 waiting, 1 lost, 1 failed, 1 done");
  assert.equal(countsWords(countsOf([])), "");
  assert.equal(countsWords(countsOf(runs), ["failed", "done"]), "2 running, 1 waiting, 1 lost");
});

test("sums of a workflow are counted by what people call its states, refusals as failures", () => {
  const counts = countsOfStates({ PENDING: 1200, RECEIVED: 34, REJECTED: 2, REVOKED: 1, IGNORED: 1 });
  assert.equal(countsWords(counts), "1,234 waiting, 2 failed, 1 cancelled, 1 ignored");
});

test("a state of a later release is no end that this one knows", () => {
  assert.equal(countsWords(countsOf([run("PAUSED")])), "1 running");
});

test("large numbers are grouped", () => {
  assert.equal(endedWords(1999, 2000, 1000), "1,999 of 2,000 ended, 1,000 failed");
});
