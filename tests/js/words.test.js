import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import * as more from "../../progress/static/progress/more-words.js";
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
    children: [undefined, { known: 5, ended: 2, failed: 1 }, { known: 5, ended: 5, failed: 1 }],
    at: [null, START, START + 12 * SECOND],
  };
  const pattern = (words) => words.replace(/, (in|nothing new for|no sign of life for) 12 s/, "").replace(/, attempt 3( of 4)?/, ", attempt 2$1");
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
  const [s, at] = running({ ran: MINUTE, left: 40 * SECOND, rate: null, fraction: 0.6 });
  assert.equal(words.etaWords(s, at + 25 * SECOND), "about 20 s left");
  assert.equal(words.etaWords(s, at + 3600 * SECOND), "about 10 s left");
});

test("no end is foretold of what stands still", () => {
  const [s, at] = running({ ran: MINUTE, left: 40 * SECOND });
  assert.equal(words.etaWords(s, at + 4 * SECOND), "about 40 s left");
  assert.equal(words.etaWords(s, at + 5.1 * SECOND), "");
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
  assert.equal(more.partsWords(s), "5 of 8 parts, 1 failed");
  assert.equal(more.partsWords(snapshot()), "");
  assert.equal(words.percentWords(snapshot({ state: "SUCCESS" , fraction: null })), "100 %");
});

test("the stage that runs is named", () => {
  const stages = [{ name: "read", state: "done" }, { name: "write", state: "running" }, { name: "header", state: "running" }];
  assert.equal(more.stageWords(snapshot({ stages })), "write, header");
  assert.equal(more.stageWords(snapshot({ stages, final: true })), "");
});

test("counts are said with their unit and total, as far as these are known", () => {
  assert.equal(words.countWords(snapshot()), "630 of 1,000 rows");
  assert.equal(words.countWords(snapshot({ total: null, current: 1234 })), "1,234 rows");
  assert.equal(words.countWords(snapshot({ total: null, current: 0 })), "");
  assert.equal(words.countWords(snapshot({ total: 10, current: 0, unit: "" })), "0 of 10");
});

test("rates are said per second, minute or hour, whichever can be pictured", () => {
  const said = (rate, unit = "rows") => more.rateWords(snapshot({ rate, unit }));
  assert.equal(said(210.5), "211 rows/s");
  assert.equal(said(0.9999), "1 rows/s");
  assert.equal(said(0.2), "12 rows/min");
  assert.equal(said(0.001, ""), "3.6/h");
  assert.equal(said(0), "");
  assert.equal(said(null), "");
  assert.equal(more.rateWords(snapshot({ state: "SUCCESS", final: true })), "");
});

test("a rate is said as long as it is known to be so: not of a burst that is over, nor of a lost connection", () => {
  const s = snapshot({ rate: 95, unit: "lines", updated_at: iso(START) });
  assert.equal(more.rateWords(s, START + 5_000), "95 lines/s");
  assert.equal(more.rateWords(s, START + 5_100), "");
  assert.equal(more.rateWords(s, START + 1_000, false), "");
  const slow = { ...s, rate: 0.1 };
  assert.equal(more.rateWords(slow, START + 35_000), "6 lines/min", "three of them would have taken 30 s");
  assert.equal(more.rateWords(slow, START + 35_001), "");
});

test("a task that ended badly, or is lost, has said its message last", () => {
  const said = (changes) => more.messageWords(snapshot({ message: "33 seconds to go", ...changes }));
  assert.equal(said({}), "33 seconds to go");
  assert.equal(said({ state: "SUCCESS", final: true }), "33 seconds to go");
  assert.equal(said({ state: "REVOKED", final: true }), "last said: 33 seconds to go");
  assert.equal(said({ state: "LOST" }), "last said: 33 seconds to go");
  assert.equal(said({ state: "FAILURE", final: true, message: "" }), "");
});

test("ages tick, and a lost connection says how old what is shown is", () => {
  const s = snapshot({ updated_at: iso(START) });
  assert.equal(words.ageWords(s, START + 1_000, "live"), "updated just now");
  assert.equal(words.ageWords(s, START + 12_000, "live"), "updated 12 s ago");
  assert.equal(words.ageWords(s, START + 5 * MINUTE, "live"), "updated 5 min ago");
  for (const state of ["offline", "stale"]) {
    assert.equal(words.ageWords(s, START + 12_000, state), "connection lost, showing the state of 12 s ago");
  }
  assert.equal(words.ageWords(s, null, "offline"), "no connection, showing an older state");
  assert.equal(words.ageWords(s, START, "refused"), "not connected any more: load the page again");
  assert.equal(words.ageWords({ ...s, final: true }, START + 5 * MINUTE, "live"), "ended 5 min ago");
});

test("elapsed time counts on while it runs and stands still at the end", () => {
  const s = snapshot({ started_at: iso(START) });
  assert.equal(more.elapsedWords(s, START + 35_000), "0:35 so far");
  assert.equal(more.elapsedWords(s, START - 1), "0:00 so far");
  const ended = { ...s, finished_at: iso(START + 3_723_000) };
  assert.equal(more.elapsedWords(ended, START + 9_999_000), "took 1:02:03");
  assert.equal(more.elapsedWords({ ...s, finished_at: iso(START + 999) }, START), "took less than 1 s");
  assert.equal(more.elapsedWords(snapshot({ started_at: null }), START), "");
});

test("an outcome is shown as text: result, error, or that the reason is kept", () => {
  const said = (changes) => more.outcomeWords(snapshot(changes));
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

/** What a bar says before, or without, `more-words.js`. */
function plainly(say) {
  const { stateWords } = words.rest;
  delete words.rest.stateWords;
  try {
    return say();
  } finally {
    words.rest.stateWords = stateWords;
  }
}

test("a plain bar says without the rest what it says with it, and knows when it is none", () => {
  const flags = {
    state: ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "LOST", "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED"],
    attempt: [0, 1, 2],
    retries: [0, 1],
    cancel_requested: [false, true],
    unserved: [false, true],
    waits_for: [null, "b"],
    scheduled_for: [null, iso(START + 12 * SECOND)],
    error: [null, { type: "error" }],
    stall_after: [undefined, 10],
    at: [null, START, START + 59 * SECOND, START + 60 * SECOND],
    live: [true, false],
  };
  const said = new Set();
  for (const { at, live, ...given } of combinations(Object.entries(flags))) {
    if (given.retries && given.attempt < 2) continue; // a retry is another attempt
    if (given.attempt === 0 && !["PENDING", "RECEIVED", "REVOKED"].includes(given.state)) continue; // it has begun
    const final = ["SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED"].includes(given.state);
    const s = snapshot({ queue: "reports", updated_at: iso(START), final, ...given });
    if (!words.isPlain(s, at)) continue;
    const plain = plainly(() => words.stateWords(s, at, live));
    assert.equal(plain, words.stateWords(s, at, live), JSON.stringify({ ...given, at, live }));
    said.add(plain);
  }
  assert.deepEqual(said, new Set(["waiting for a worker", "running"]));
});

test("what the rest would say better is said truly without it", () => {
  const said = (changes) => plainly(() => words.stateWords(snapshot(changes), START, true));
  assert.equal(said({ state: "SUCCESS", final: true }), "done");
  assert.equal(said({ state: "LOST" }), "lost");
  assert.equal(said({ state: "REVOKED", attempt: 0, final: true }), "revoked");
  assert.equal(said({ state: "RETRY" }), "retry");
  assert.equal(said({ cancel_requested: true }), "progress", "never cancelled while it runs");
});

test("what is lost says for how long, where that is known", () => {
  const lost = { state: "LOST", updated_at: iso(START) };
  const said = (changes, live) => words.stateWords(snapshot({ ...lost, ...changes }), START + 20 * SECOND, live);
  assert.equal(said({}), "lost (presumed), no sign of life for 20 s");
  assert.equal(said({}, false), "lost (presumed)", "a page that hears nothing accuses nobody");
  assert.equal(said({ cancel_requested: true }), "lost (presumed) while cancelling");
  assert.equal(said({ error: { type: "error" } }), "interrupted, its worker was stopped");
});

test("a text is looked up in the catalogue of the page, and filled in", () => {
  assert.equal(words.gettext("%(current)s of %(total)s", { current: 1234, total: "all" }), "1,234 of all");
  globalThis.django = { gettext: (text) => ({ "about %(time)s left": "noch %(time)s" })[text] ?? text };
  try {
    assert.equal(words.gettext("about %(time)s left", { time: "$& 5" }), "noch $& 5");
    assert.equal(words.gettext("done"), "done");
    globalThis.django = { jQuery: null }; // as on a page of the admin
    assert.equal(words.gettext("done"), "done");
  } finally {
    delete globalThis.django;
  }
});

test("spans are rounded to the unit that they end in", () => {
  const ends = [[0, "0 s"], [59_400, "59 s"], [59_600, "1 min"], [59.6 * MINUTE, "1 h"], [47.4 * 60 * MINUTE, "47 h"], [48 * 60 * MINUTE, "2 d"]];
  for (const [ms, said] of ends) assert.equal(words.spanWords(ms), said);
});

test("what every page with a bar loads of the words is small", () => {
  const served = readFileSync(new URL("../../progress/static/progress/words.js", import.meta.url));
  assert.ok(gzipSync(served, { level: 9 }).length <= 1_500);
});
