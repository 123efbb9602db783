import assert from "node:assert/strict";
import { test } from "node:test";

import { history, play, randomFrom } from "./merge.mjs";

const count = Number(process.env.MERGE_MESSAGES ?? 100_000);
const seed = Number(process.env.MERGE_SEED ?? Date.now() % 2 ** 31);

test(`${count} shuffled, doubled, replayed and lost messages never go back and end once`, async (t) => {
  t.diagnostic(`seed ${seed}`);
  const { verdict, seen } = await play(count, seed);
  assert.ok(verdict.messages >= count);
  assert.deepEqual({ ...verdict, messages: 0 }, { messages: 0, backwards: 0, double_ends: 0, stuck: 0 }, `seed ${seed}`);
  for (const state of ["PENDING", "STARTED", "PROGRESS", "RETRY", "LOST", "SUCCESS", "REJECTED", "an end"]) {
    assert.ok(seen.has(state), `seed ${seed}: nobody was shown ${state}`);
  }
});

test("the histories that are played are true: every execution ends at most once, and numbers rise", () => {
  const random = randomFrom(seed);
  let [again, runs] = [0, 0];
  for (let n = 0; n < 200; n += 1) {
    const ended = new Set();
    let before = { seq: 0, final: false, run: 1, attempt: 0 };
    for (const now of history("a", random)) {
      const name = `${now.run} ${now.attempt}`;
      const same = name === `${before.run} ${before.attempt}`;
      assert.ok(now.seq > before.seq, `seed ${seed}`);
      if (now.final && !(same && before.final)) assert.ok(!ended.has(name), `seed ${seed}`);
      if (now.final) ended.add(name);
      if (before.final && !now.final) now.run > before.run ? (runs += 1) : (again += 1);
      before = now;
    }
  }
  assert.ok(again > 100 && runs > 100, `seed ${seed}: ${again} and ${runs}`);
});
