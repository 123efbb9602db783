import assert from "node:assert/strict";
import { test } from "node:test";

import { totalOf } from "../../progress/static/progress/run-total.js";

/** @param {string} state @param {?number} fraction @param {boolean} final */
const run = (state, fraction, final = false) => ({ state, fraction, final });

test("each run counts the same, what is unknown counts as nothing, what has ended in full", () => {
  const runs = [
    run("PROGRESS", 0.5),
    run("PENDING", null),
    run("SUCCESS", 1, true),
    run("FAILURE", 0.2, true),
  ];
  assert.deepEqual(totalOf(runs), { value: 0.625, words: "2 of 4 ended, 1 failed", failed: true });
});

test("being cancelled is no failure, and the end is whole", () => {
  assert.deepEqual(totalOf([run("REVOKED", null, true)]), { value: 1, words: "1 of 1 ended", failed: false });
});
