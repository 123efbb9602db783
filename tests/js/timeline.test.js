import assert from "node:assert/strict";
import { test } from "node:test";

import { snapshot } from "./page.js";
import { piecesOf } from "../../progress/static/progress/task-timeline.js";

const ended = { state: "SUCCESS", final: true, finished_at: "2026-01-01T00:00:11.000Z" };
const seconds = (pieces) => pieces.map(({ kind, from, to }) => [kind, (to - from) / 1_000]);

test("a run is as long as it waited and as it ran", () => {
  const pieces = piecesOf(snapshot(ended));
  assert.deepEqual(seconds(pieces), [["waited", 1], ["stage odd", 10]]);
  assert.deepEqual(pieces.map(({ text }) => text), ["waited 0:01", "ran 0:10"]);
});

test("stages take the place of the run where it is told when they began and ended", () => {
  const stages = [
    { name: "read", current: 1, weight: 1, state: "done", from: 0, to: 4_000 },
    { name: "header", current: 1, weight: 1, state: "done", from: 0, to: 1_000, depth: 1 },
    { name: "write", current: 1, weight: 1, state: "failed", from: 4_000, to: 10_000 },
    { name: "tell", current: 0, weight: 1, state: "waiting" },
  ];
  const pieces = piecesOf(snapshot({ ...ended, state: "FAILURE", stages }));
  assert.deepEqual(seconds(pieces), [["waited", 1], ["stage odd", 4], ["failed", 6]]);
});

test("what is not known is left out, not guessed from weights", () => {
  const stages = [{ name: "read", current: 1, weight: 9, state: "done" }];
  assert.deepEqual(seconds(piecesOf(snapshot({ ...ended, queued_at: null, stages }))), [["stage odd", 10]]);
  assert.deepEqual(piecesOf(snapshot({ ...ended, queued_at: null, started_at: null, stages })), []);
});

test("a run that never started has waited until its end", () => {
  const pieces = piecesOf(snapshot({ ...ended, state: "REVOKED", started_at: null }));
  assert.deepEqual(pieces.map(({ kind, text }) => [kind, text]), [["waited", "waited 0:11 and never started"]]);
});

test("clocks of two machines that disagree make no piece that ends before it begins", () => {
  for (const times of [{ finished_at: "2026-01-01T00:00:00.500Z" }, { queued_at: "2026-01-01T00:00:09.000Z" }]) {
    for (const { from, to } of piecesOf(snapshot({ ...ended, ...times }))) assert.ok(to >= from);
  }
});
