import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff } from "../../progress/static/progress/connection.js";

const ATTEMPTS = Array.from({ length: 2000 }, (_, attempt) => attempt);

test("waits at least half a second and at most thirty, however often it failed", () => {
  for (const random of [() => 0, () => 0.5, () => 1 - Number.EPSILON]) {
    for (const attempt of ATTEMPTS) {
      const ms = backoff(attempt, random);
      assert.ok(ms >= 500 && ms <= 30_000, `attempt ${attempt}: ${ms} ms`);
    }
  }
});

test("the window never shrinks and reaches thirty seconds", () => {
  const windows = ATTEMPTS.slice(0, 40).map((attempt) => backoff(attempt, () => 1));
  assert.deepEqual(windows, [...windows].sort((a, b) => a - b));
  assert.equal(windows.at(-1), 30_000);
});

test("the jitter is full: the whole window is used", () => {
  assert.equal(backoff(0, () => 0), 500);
  assert.equal(backoff(0, () => 1), 6_000);
  assert.equal(backoff(9, () => 0), 500);
  assert.equal(backoff(9, () => 1), 9_000, "somebody comes out of a tunnel");
});

test("5 000 pages that lose one server come back at no more than a fifth of them per second", () => {
  const clients = 5_000;
  let state = 42;
  const random = () => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  const times = Array.from({ length: clients }, () => backoff(0, random)).sort((a, b) => a - b);
  let most = 0;
  for (let first = 0, last = 0; last < times.length; last += 1) {
    while (times[last] - times[first] > 1_000) first += 1;
    most = Math.max(most, last - first + 1);
  }
  assert.ok(most <= clients / 5, `${most} in one second`);
});
