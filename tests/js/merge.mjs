/**
 * What a page shows of true histories whose snapshots come shuffled, doubled, replayed, and not at all.
 *
 * `node tests/js/merge.mjs`: MERGE_MESSAGES (default 100 000) and MERGE_SEED (default: by the clock) choose the play.
 * The last line of its output is the verdict as JSON; it exits with 1 unless all its counts but the first are zero.
 */

import { setMaxListeners } from "node:events";
import { fileURLToPath } from "node:url";

import { ProgressSocket } from "../../progress/static/progress/progress-socket.js";
import { pretendToBeABrowser } from "./pretended-page.js";
import { URL_, answerPings, frame, page, settled } from "./page.js";

const TASKS = 25; // on the page at once; then come the next ones
const STEPS = 40; // writes of a task
const ENDS = ["SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED"];

/** A small generator of random numbers, so that a failure can be repeated. @param {number} seed */
export function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * All that a record may say in its life: attempts that fail and are made again, a redelivered task that runs again
 * after its end, runs of a re-used id, losses that are taken back.
 * @param {string} id @param {() => number} random
 */
export function history(id, random) {
  const snapshots = [];
  const dice = (/** @type {number} */ sides) => Math.floor(random() * sides);
  let [seq, run, attempt, state, current] = [1_763_645_023_000_000, 1, 0, "PENDING", 0];
  const say = (/** @type {string} */ next, more = {}) => {
    seq += 1 + dice(5_000);
    state = next;
    const final = ENDS.includes(state);
    snapshots.push({ v: 1, id, seq, run, attempt, state, final, current, total: STEPS, name: "tasks.work", ...more });
  };
  say("PENDING");
  for (let step = 1; step < STEPS; step += 1) {
    if (ENDS.includes(state)) {
      // Its parts may still be counted in it; the broker may give it to another worker; its id may be used again.
      const next = random();
      if (next < 0.4) say(state, { children: { known: 3, ended: dice(4), failed: 0 } });
      else if (next < 0.8) [attempt, current] = [attempt + 1, 0], say("STARTED");
      else [run, attempt, current] = [run + 1, 0, 0], say("PENDING");
    } else if (state === "PENDING" || state === "RETRY") {
      if (random() < 0.05) say("REVOKED");
      else [attempt, current] = [attempt + 1, 0], say("STARTED");
    } else if (state === "LOST") say(random() < 0.7 ? "PROGRESS" : "FAILURE");
    else {
      const next = random();
      current += 1;
      if (next < 0.1) say(ENDS[dice(ENDS.length)]);
      else if (next < 0.17) say("RETRY", { scheduled_for: null });
      else if (next < 0.24) say("LOST");
      else say("PROGRESS", { cancel_requested: next > 0.9 });
    }
  }
  return snapshots;
}

/** Mostly near their place, as networks do it; sometimes from anywhere. @param {any[]} items */
function shuffled(items, random) {
  for (let n = items.length - 1; n > 0; n -= 1) {
    const other = Math.floor(random() < 0.9 ? Math.max(0, n - random() * 60) : random() * n);
    [items[n], items[other]] = [items[other], items[n]];
  }
  return items;
}

/** What comes of a history: each snapshot never, once or up to three times, and the newest at least once. */
function copies(snapshots, random) {
  const sent = [];
  for (const item of snapshots) {
    const fate = random();
    if (fate > 0.2) sent.push(item);
    if (fate > 0.6) sent.push(item);
    if (fate > 0.9) sent.push(item, item);
  }
  sent.push(snapshots.at(-1)); // what the server's sweep would find, at any time
  return sent;
}

/** A bar that counts what it tells the page. */
function bar(TaskProgress, id, verdict, seen) {
  const element = new TaskProgress();
  element.setAttribute("task-id", id);
  element.setAttribute("socket", URL_);
  let [shown, ends] = [0, new Set()];
  element.addEventListener("task-progress:change", ({ detail }) => {
    if (detail.seq <= shown) verdict.backwards += 1;
    shown = detail.seq;
    seen.add(detail.state);
  });
  element.addEventListener("task-progress:end", ({ detail }) => {
    const execution = `${detail.run} ${detail.attempt}`;
    if (ends.has(execution)) verdict.double_ends += 1;
    ends.add(execution);
    seen.add("an end");
  });
  element.connectedCallback();
  return element;
}

/**
 * Play so many messages.
 * @returns {Promise<{verdict: {messages: number, backwards: number, double_ends: number, stuck: number},
 *   seen: Set<string>}>} `seen`: the states that were shown.
 */
export async function play(count, seed) {
  const random = randomFrom(seed);
  const browser = await pretendToBeABrowser();
  const it = page({ respond: answerPings, random });
  ProgressSocket.provide(URL_, it.socket);
  setMaxListeners(0, it.socket); // a page may have any number of bars
  const verdict = { messages: 0, backwards: 0, double_ends: 0, stuck: 0 };
  const seen = new Set();
  for (let round = 0; verdict.messages < count; round += 1) {
    const ids = Array.from({ length: TASKS }, (_, n) => `task-${round}-${n}`);
    const bars = ids.map((id) => bar(browser.TaskProgress, id, verdict, seen));
    await settled();
    if (!round) it.wire.open();
    const truths = ids.map((id) => history(id, random));
    const newest = truths.map((truth) => truth.at(-1));
    const coming = shuffled(truths.flatMap((truth) => copies(truth, random)), random);
    const past = [];
    while (coming.length) {
      const items = coming.splice(0, 1 + Math.floor(random() * 20));
      if (past.length && random() < 0.3) items.push(past[Math.floor(random() * past.length)]);
      past.push(...items);
      verdict.messages += items.length;
      it.wire.say(frame(...items));
      if (random() < 0.5) browser.nextFrame();
      if (random() < 0.01) await reconnect(it);
    }
    browser.nextFrame();
    for (const [n, element] of bars.entries()) {
      if (element.snapshot?.seq !== newest[n].seq || element.snapshot.state !== newest[n].state) verdict.stuck += 1;
      element.disconnectedCallback();
    }
    await settled();
  }
  it.socket.close();
  return { verdict, seen };
}

/** The connection is lost and comes back; what is shown stays, and is told to nobody twice. */
async function reconnect(it) {
  it.wire.end(1006);
  it.socket.connect();
  it.wire.open();
  await settled();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const count = Number(process.env.MERGE_MESSAGES ?? 100_000);
  const seed = Number(process.env.MERGE_SEED ?? Date.now() % 2 ** 31);
  if (!(count > 0) || !Number.isInteger(seed)) {
    throw new Error(`MERGE_MESSAGES must be positive and MERGE_SEED whole, got ${count} and ${seed}: give numbers.`);
  }
  console.log(`seed ${seed} (MERGE_SEED=${seed} plays the same again)`);
  const { verdict } = await play(count, seed);
  console.log(JSON.stringify(verdict));
  process.exitCode = verdict.backwards || verdict.double_ends || verdict.stuck ? 1 : 0;
}
