import assert from "node:assert/strict";
import { test } from "node:test";

import { closeLog, openLog } from "../../progress/static/progress/log-lines.js";
import { answerPings, page, settled } from "./page.js";

test("a log is continued by its cursor after a reconnect, with no line doubled or missed", async () => {
  const line = (_, n) => ({ at: "2026-01-01T00:00:00.000Z", level: "INFO", text: `${n}` });
  const written = Array.from({ length: 500 }, line);
  let there = 0;
  const since = (from) => {
    const lines = written.slice(from, there);
    return { type: "logs", id: "a", lines, next: `1763645023123-${there}`, truncated: false };
  };
  const answer = (socket, after) => socket.say(since(after ? Number(after.split("-")[1]) : 0));
  const respond = (socket, message) => {
    answerPings(socket, message);
    if (message.type === "logs") answer(socket, message.after);
  };
  const it = page({ respond });
  const log = openLog(it.socket, "a");
  await settled();
  it.wire.open();
  for (there = 50; there <= 500; there += 50) {
    const newest = since(there - 50);
    it.wire.say(newest);
    if (there % 100) continue;
    it.wire.end(1006);
    await it.clock.pass(6_500);
    it.wire.open();
    assert.deepEqual(it.wire.of("logs").map(({ after }) => after), [newest.next]);
    it.wire.say(newest).say(newest); // repeated by a server that does not know better
  }
  assert.deepEqual(log.lines.map(({ text }) => Number(text)), written.map((_, n) => n));
});

test("a log keeps its newest thousand lines and says that older ones are gone", async () => {
  const it = page();
  const log = openLog(it.socket, "a");
  await settled();
  it.wire.open();
  for (let n = 1; n <= 1500; n += 1) {
    const lines = [{ at: "", level: "INFO", text: `${n}` }];
    it.wire.say({ type: "logs", id: "a", lines, next: `1-${n}`, truncated: false });
  }
  assert.equal(log.lines.length, 1000);
  assert.equal(log.lines.at(-1).text, "1500");
  assert.equal(log.truncated, true);
});

test("a log that is not for the viewer says so, and the task can still be watched", async () => {
  const it = page();
  const log = openLog(it.socket, "a");
  await settled();
  it.wire.open().say({ type: "refused", ids: ["a"], code: "not_allowed", ref: "logs" });
  assert.equal(log.refused, true);
  assert.equal(it.socket.task("a").refused, undefined);
});

test("the log of a task that is found later is asked for again with it", async () => {
  const it = page();
  const log = openLog(it.socket, "a");
  await settled();
  it.wire.open().say({ type: "refused", ids: ["a"], code: "not_found" });
  it.wire.say({ type: "refused", ids: ["a"], code: "not_found", ref: "logs" });
  assert.equal(log.refused, false);
  it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  await settled();
  assert.equal(it.wire.of("logs").length, 2);
});

test("a log that nobody reads any more is not asked for again, and its task is not watched", async () => {
  const it = page();
  openLog(it.socket, "a");
  openLog(it.socket, "a");
  await settled();
  it.wire.open();
  closeLog(it.socket, "a");
  await settled();
  assert.equal(it.wire.of("unwatch").length, 0, "one of two readers is left");
  closeLog(it.socket, "a");
  closeLog(it.socket, "a");
  await settled();
  assert.deepEqual(it.wire.of("unwatch").map(({ ids }) => ids), [["a"]]);
  await it.clock.pass(5_000);
  assert.equal(it.wire.closedWith, 1000);
});

test("a log that is moved in the page keeps its lines", async () => {
  const it = page();
  const log = openLog(it.socket, "a");
  await settled();
  it.wire.open().say({ type: "logs", id: "a", lines: [{ at: "", level: "INFO", text: "1" }], next: "1-1", truncated: false });
  closeLog(it.socket, "a");
  assert.equal(openLog(it.socket, "a"), log);
  await settled();
  assert.equal(log.lines.length, 1);
  assert.equal(it.wire.of("logs").length, 1);
});
