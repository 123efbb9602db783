import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as words from "../../progress/static/progress/words.js";
import { snapshot } from "./page.js";

const STATES = JSON.parse(readFileSync(new URL("./states.json", import.meta.url), "utf8"));
const START = Date.parse("2026-01-01T00:00:00.000Z");
const SECOND = 1_000;
const MINUTE = 60 * SECOND;

const iso = (ms) => new Date(ms).toISOString();

/** A task that has run for `ran` ms, reported just now, and has `left` ms to go at its present rate. */
function running({ ran, left, fraction = 0.5, ...changes }) {
  const at = START + ran;
  const total = 1_000_000;
  const current = total * fraction;
  const rate = (total - current) / (left / SECOND);
  const times = { started_at: iso(START), updated_at: iso(at) };
  return [snapshot({ ...times, current, total, fraction, rate, ...changes }), at];
}

for (const { words: expected, snapshot: given, at } of STATES) {
  test(`${JSON.stringify(given)} is said as "${expected}"`, () => {
    const s = snapshot({ retries: 0, attempt: 1, ...given });
    assert.equal(words.stateWords(s, at ? Date.parse(at) : null), expected);
  });
}

/** Every way to choose one of the values of each name. */
function* combinations([[name, values], ...rest]) {
  for (const value of values) {
    for (const chosen of rest.length ? combinations(rest) : [{}]) yield { [name]: value, ...chosen };
  }
}

test("there is a sentence for every state with every combination of flags, and it is one of the list", () => {
  const flags = {
    state: [...new Set(STATES.map(({ snapshot: given }) => given.state))],
    attempt: [0, 1, 2],
    run: [1, 2],
    retries: [0, 1],
    cancel_requested: [false, true],
    unserved: [false, true],
    waits_for: [null, "b"],
    scheduled_for: [null, iso(START), iso(START + 12 * SECOND)],
    error: [null, { type: "error" }],
    stall_after: [undefined, 10],
    at: [null, START, START + 12 * SECOND],
  };
  const pattern = (words) => words.replace(/, in 12 s|, nothing new for 12 s/, "").replace(/, attempt 3( of 4)?/, ", attempt 2$1");
  const listed = new Set(STATES.map(({ words: expected }) => pattern(expected)));
  for (const { at, ...given } of combinations(Object.entries(flags))) {
    const s = snapshot({ queue: "reports", max_retries: 3, updated_at: iso(START), ...given });
    const said = words.stateWords(s, at);
    assert.ok(listed.has(pattern(said)), `${JSON.stringify({ ...given, at })}: ${said}`);
  }
});

test("nobody is called quiet while the connection is not live, nor before a minute without a limit of its own", () => {
  const s = snapshot({ updated_at: iso(START) });
  assert.equal(words.stateWords(s, START + 59 * SECOND), "running");
  assert.equal(words.stateWords(s, START + 5 * MINUTE), "running, nothing new for 5 min");
  assert.equal(words.stateWords(s, START + 5 * MINUTE, false), "running");
});

test("a retry, and a task for later, say in how many seconds they begin", () => {
  const later = { scheduled_for: iso(START + 12 * SECOND) };
  const retry = snapshot({ state: "RETRY", retries: 0, max_retries: 3, ...later });
  assert.equal(words.stateWords(retry, START), "retrying, attempt 2 of 4, in 12 s");
  assert.equal(words.stateWords(retry, START + 20 * SECOND), "retrying, attempt 2 of 4");
  const waiting = snapshot({ state: "PENDING", attempt: 0, ...later });
  assert.equal(words.stateWords(waiting, START), "scheduled, in 12 s");
  assert.equal(words.stateWords(waiting, START + 20 * SECOND), "waiting for a worker");
});

for (const [left, expected] of [
  [1 * SECOND, "about 10 s left"],
  [10 * SECOND, "about 10 s left"],
  [10.1 * SECOND, "about 20 s left"],
  [49 * SECOND, "about 50 s left"],
  [51 * SECOND, "about 1 min left"],
  [60 * SECOND, "about 1 min left"],
  [7.4 * MINUTE, "about 7 min left"],
  [59.4 * MINUTE, "about 59 min left"],
  [59.6 * MINUTE, "about 1 h left"],
  [125 * MINUTE, "about 2 h left"],
]) {
  test(`${left / SECOND} s are "${expected}"`, () => {
    assert.equal(words.etaWords(...running({ ran: MINUTE, left })), expected);
  });
}

test("no end is foretold before 3 s and 3 %, nor of what waits, is lost or is being cancelled", () => {
  const left = MINUTE;
  assert.equal(words.etaWords(...running({ ran: 2_999, left })), "");
  assert.notEqual(words.etaWords(...running({ ran: 3_000, left })), "");
  assert.equal(words.etaWords(...running({ ran: MINUTE, left, fraction: 0.029 })), "");
  assert.notEqual(words.etaWords(...running({ ran: MINUTE, left, fraction: 0.03 })), "");
  const kinds = [{ state: "RETRY" }, { state: "LOST" }, { cancel_requested: true }, { fraction: null }];
  for (const changes of kinds) {
    assert.equal(words.etaWords(...running({ ran: MINUTE, left, ...changes })), "", JSON.stringify(changes));
  }
  const [s] = running({ ran: MINUTE, left });
  assert.equal(words.etaWords(s, null), "", "nor before the server's time is known");
});

test("the end comes nearer while nothing is reported, and never is in the past", () => {
  const [s, at] = running({ ran: MINUTE, left: 40 * SECOND });
  assert.equal(words.etaWords(s, at + 25 * SECOND), "about 20 s left");
  assert.equal(words.etaWords(s, at + 3600 * SECOND), "about 10 s left");
});

test("without a rate the end is estimated from the time it took so far", () => {
  assert.equal(words.etaWords(...running({ ran: 30 * SECOND, left: 1, rate: null })), "about 30 s left");
});

test("999 999 of 1 000 000 is 99 %, only success is 100 %", () => {
  assert.equal(words.percentWords(snapshot({ fraction: 0.999999 })), "99 %");
  assert.equal(words.percentWords(snapshot({ fraction: 0.29 })), "29 %");
  assert.equal(words.percentWords(snapshot({ fraction: 0 })), "0 %");
  assert.equal(words.percentWords(snapshot({ fraction: null })), "");
  assert.equal(words.percentWords(snapshot({ state: "SUCCESS", fraction: 1 })), "100 %");
});

test("a task whose parts are still open is not at 100 %", () => {
  const s = snapshot({ state: "SUCCESS", final: true, fraction: 0.625, children: { known: 8, ended: 5, failed: 1 } });
  assert.equal(words.percentWords(s), "62 %");
  assert.equal(words.partsWords(s), "5 of 8 parts, 1 failed");
  assert.equal(words.partsWords(snapshot()), "");
  assert.equal(words.percentWords(snapshot({ state: "SUCCESS" , fraction: null })), "100 %");
});

test("the stage that runs is named", () => {
  const stages = [{ name: "read", state: "done" }, { name: "write", state: "running" }, { name: "header", state: "running" }];
  assert.equal(words.stageWords(snapshot({ stages })), "write, header");
  assert.equal(words.stageWords(snapshot({ stages, final: true })), "");
});

test("counts are said with their unit and total, as far as these are known", () => {
  assert.equal(words.countWords(snapshot()), "630 of 1,000 rows");
  assert.equal(words.countWords(snapshot({ total: null, current: 1234 })), "1,234 rows");
  assert.equal(words.countWords(snapshot({ total: null, current: 0 })), "");
  assert.equal(words.countWords(snapshot({ total: 10, current: 0, unit: "" })), "0 of 10");
});

test("rates are said per second, minute or hour, whichever can be pictured", () => {
  const said = (rate, unit = "rows") => words.rateWords(snapshot({ rate, unit }));
  assert.equal(said(210.5), "211 rows/s");
  assert.equal(said(0.9999), "1 rows/s");
  assert.equal(said(0.2), "12 rows/min");
  assert.equal(said(0.001, ""), "3.6/h");
  assert.equal(said(0), "");
  assert.equal(said(null), "");
  assert.equal(words.rateWords(snapshot({ state: "SUCCESS", final: true })), "");
});

test("ages tick, and a lost connection says how old what is shown is", () => {
  const s = snapshot({ updated_at: iso(START) });
  assert.equal(words.ageWords(s, START + 1_000, "live"), "updated just now");
  assert.equal(words.ageWords(s, START + 12_000, "live"), "updated 12 s ago");
  assert.equal(words.ageWords(s, START + 5 * MINUTE, "live"), "updated 5 min ago");
  for (const state of ["offline", "stale"]) {
    assert.equal(words.ageWords(s, START + 12_000, state), "connection lost, showing the state of 12 s ago");
  }
  assert.equal(words.ageWords(s, null, "offline"), "connection lost, showing an older state");
  assert.equal(words.ageWords(s, START, "refused"), "not connected any more: load the page again");
  assert.equal(words.ageWords({ ...s, final: true }, START + 5 * MINUTE, "live"), "ended 5 min ago");
});

test("elapsed time counts on while it runs and stands still at the end", () => {
  const s = snapshot({ started_at: iso(START) });
  assert.equal(words.elapsedWords(s, START + 35_000), "0:35 so far");
  assert.equal(words.elapsedWords(s, START - 1), "0:00 so far");
  const ended = { ...s, finished_at: iso(START + 3_723_000) };
  assert.equal(words.elapsedWords(ended, START + 9_999_000), "took 1:02:03");
  assert.equal(words.elapsedWords({ ...s, finished_at: iso(START + 999) }, START), "took less than 1 s");
  assert.equal(words.elapsedWords(snapshot({ started_at: null }), START), "");
});

test("an outcome is shown as text: result, error, or that the reason is kept", () => {
  const said = (changes) => words.outcomeWords(snapshot(changes));
  assert.equal(said({ state: "SUCCESS", result: "12 rows" }), "12 rows");
  assert.equal(said({ state: "SUCCESS", result: { a: 1 } }), '{\n "a": 1\n}');
  assert.equal(said({ state: "SUCCESS", result: null }), "");
  assert.equal(said({ state: "SUCCESS", result: 0 }), "0");
  assert.equal(said({ state: "FAILURE", error: { type: "Refused", message: "Not a CSV." } }), "Not a CSV.");
  assert.equal(said({ state: "FAILURE", error: { type: "error" } }), "The reason is not shown here.");
});

test("every state has a look of its own kind", () => {
  const moods = STATES.map(({ snapshot: given }) => words.mood(snapshot(given)));
  assert.deepEqual(new Set(moods), new Set(["wait", "run", "good", "bad", "over"]));
});

test("what is read out has title, state and percentage, and the outcome at the end", () => {
  assert.equal(words.spoken(snapshot(), START), "Import customers.csv: running, 63 %");
  const failed = snapshot({ state: "FAILURE", final: true, error: { type: "E", message: "No rows." } });
  assert.equal(words.spoken(failed, START), "Import customers.csv: failed, No rows.");
});
