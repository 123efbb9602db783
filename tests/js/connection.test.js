import assert from "node:assert/strict";
import { test } from "node:test";

import { watchMine } from "../../progress/static/progress/wishes.js";
import { page, frame, settled, snapshot } from "./page.js";

/** A page that watches "a" and is connected. */
async function connected(options) {
  const it = page(options);
  it.socket.watch("a");
  await settled();
  it.wire.open();
  return it;
}

test("nothing is dialled before something is watched", async () => {
  const { made, socket } = page();
  await settled();
  assert.equal(made.length, 0);
  assert.equal(socket.state, "connecting");
});

test("two bars, and fifty, share one socket and one message", async () => {
  const { made, socket, wire } = await connected();
  for (let n = 0; n < 50; n += 1) socket.watch(`task-${n}`);
  socket.watch("a");
  await settled();
  assert.equal(made.length, 1);
  const watches = wire.of("watch");
  assert.deepEqual(watches.map(({ ids }) => ids.length), [1, 50]);
});

test("it is live once the server was heard, not when the line was opened", async () => {
  const { socket, wire } = await connected({ respond: () => {} });
  assert.equal(socket.state, "connecting");
  wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  assert.equal(socket.state, "live");
});

test("after a reconnect everything is watched again, with its token", async () => {
  const it = await connected();
  it.socket.watch("b", { token: "of-b" });
  watchMine(it.socket);
  await settled();
  it.wire.end(1006);
  assert.equal(it.socket.state, "offline");
  await it.clock.pass(6_500);
  assert.equal(it.made.length, 2);
  it.wire.open();
  const watches = it.wire.of("watch").map(({ ids, token, mine }) => ({ ids, token, mine }));
  assert.deepEqual(watches, [
    { ids: ["a"], token: undefined, mine: undefined },
    { ids: ["b"], token: "of-b", mine: undefined },
    { ids: undefined, token: undefined, mine: true },
  ]);
  assert.equal(it.socket.state, "live");
});

test("it dials for ever, and never more often than every half second", async () => {
  const it = page({ random: () => 0 });
  it.socket.watch("a");
  await settled();
  for (let n = 0; n < 200; n += 1) {
    it.wire.end(1006);
    await it.clock.pass(499);
    assert.equal(it.made.length, n + 1);
    await it.clock.pass(1);
    assert.equal(it.made.length, n + 2);
  }
});

for (const code of [1000, 1001, 1006, 1011, 4012, 4408, 4429]) {
  test(`a close with ${code} is retried`, async () => {
    const it = await connected();
    it.wire.end(code);
    await it.clock.pass(30_000);
    assert.ok(it.made.length >= 2);
  });
}

for (const code of [4400, 4401, 4403]) {
  test(`a close with ${code} is final, whatever wakes the page, until connect() is called`, async () => {
    const it = await connected();
    it.wire.end(code);
    it.window.dispatchEvent(new Event("online"));
    it.document.dispatchEvent(new Event("visibilitychange"));
    it.socket.watch("b");
    await it.clock.pass(600_000);
    assert.equal(it.made.length, 1);
    assert.equal(it.socket.state, "refused");
    it.socket.connect();
    it.wire.open();
    assert.equal(it.socket.state, "live");
  });
}

test("a tab too many asks ever more slowly, and lives when there is room again", async () => {
  const it = page({ random: () => 0.5 });
  it.socket.watch("a");
  await settled();
  const began = it.clock.time;
  while (it.clock.time < began + 600_000) {
    const dials = it.made.length;
    it.wire.open().end(4429);
    while (it.made.length === dials) await it.clock.pass(250);
  }
  assert.ok(it.made.length <= 50, `${it.made.length} dials in ten minutes`);
  it.wire.open();
  assert.equal(it.socket.state, "live");
});

test("4404 is tried three times within five seconds, then left", async () => {
  const it = page({ random: () => 0.999 });
  it.socket.watch("a");
  await settled();
  for (let n = 1; n <= 3; n += 1) {
    assert.equal(it.made.length, n);
    it.wire.open().end(4404);
    await it.clock.pass(2_000);
  }
  assert.equal(it.socket.state, "refused");
  await it.clock.pass(600_000);
  assert.equal(it.made.length, 3);
});

test("a server that says when to come back is obeyed to the millisecond", async () => {
  const it = await connected();
  it.wire.say({ type: "closing", code: 4012, retry_ms: 2_300 });
  it.wire.end(4012);
  await it.clock.pass(2_299);
  it.window.dispatchEvent(new Event("online"));
  assert.equal(it.made.length, 1);
  await it.clock.pass(1);
  assert.equal(it.made.length, 2);
});

test("the wait starts anew only after a connection has lived for five seconds", async () => {
  const waits = [];
  const it = page({ random: () => 1 });
  it.socket.watch("a");
  await settled();
  for (const lived of [0, 4_000, 4_000, 4_000, 4_000, 5_000]) {
    it.wire.open();
    await it.clock.pass(lived);
    it.wire.end(1006);
    const before = it.clock.time;
    const dials = it.made.length;
    while (it.made.length === dials) await it.clock.pass(500);
    waits.push(it.clock.time - before);
  }
  assert.deepEqual(waits, [6_000, 6_000, 6_000, 6_000, 9_000, 6_000]);
});

test("a dial that hangs is given up after ten seconds", async () => {
  const it = page();
  it.socket.watch("a");
  await settled();
  await it.clock.pass(10_000);
  assert.equal(it.socket.state, "offline");
  assert.equal(it.made[0].readyState, 3);
  await it.clock.pass(30_000);
  assert.ok(it.made.length >= 2);
});

test("a WebSocket that the page forbids is an outage, not an exception", async () => {
  const { ProgressSocket } = await import("../../progress/static/progress/progress-socket.js");
  class Forbidden {
    constructor() {
      throw new DOMException("blocked", "SecurityError");
    }
  }
  const calls = [];
  const setTimeout = (call, ms) => calls.push(ms);
  const host = { WebSocket: Forbidden, setTimeout, clearTimeout: () => {}, performance, Math: { random: () => 0 } };
  const socket = new ProgressSocket({ url: "ws://test/", host });
  socket.watch("a");
  await settled();
  assert.equal(socket.state, "offline");
  assert.deepEqual(calls, [500]);
});

test("heartbeats alone keep a connection for a day", async () => {
  const it = await connected();
  for (let n = 0; n < (24 * 3600) / 15; n += 1) {
    await it.clock.pass(15_000);
    it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  }
  assert.equal(it.made.length, 1);
  assert.equal(it.socket.state, "live");
  assert.equal(it.wire.of("ping").length, 1, "only the first, on opening");
});

test("a server that falls silent is asked after 35 s and replaced 3 s later", async () => {
  let healthy = true;
  const respond = (socket, { type }) => {
    if (type === "ping" && healthy) socket.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  };
  const it = await connected({ respond });
  healthy = false;
  await it.clock.pass(34_999);
  assert.equal(it.socket.state, "live");
  await it.clock.pass(1);
  assert.equal(it.socket.state, "stale");
  assert.equal(it.made.length, 1);
  await it.clock.pass(3_000);
  assert.equal(it.socket.state, "offline");
  assert.equal(it.made.length, 2);
  assert.equal(it.made[0].readyState, 3);
});

test("timers that fire a minute late close nothing: ten minutes in a hidden tab", async () => {
  const it = await connected();
  for (let minute = 0; minute < 10; minute += 1) {
    // The browser holds timers back; messages are still delivered.
    for (let n = 0; n < 4; n += 1) {
      it.clock.time += 15_000;
      it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
    }
    await it.clock.freeze(0);
  }
  assert.equal(it.made.length, 1);
  assert.equal(it.socket.state, "live");
});

test("a page that was frozen finds its messages behind its timers, and closes nothing", async () => {
  const late = [];
  const it = await connected({ respond: (socket, message) => message.type === "ping" && late.push(socket) });
  it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  for (let n = 0; n < 20; n += 1) {
    await it.clock.freeze(120_000); // the silence timer fires late: it asks
    await it.clock.freeze(120_000); // frozen again before the answer was read: the deadline fires late
    assert.equal(it.made.length, 1, `freeze ${n}`);
    it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
    await it.clock.pass(4_000);
    assert.equal(it.made.length, 1, `thaw ${n}`);
    assert.equal(it.socket.state, "live");
  }
});

test("a dead line is found in a throttled tab too", async () => {
  const it = await connected({ respond: () => {} });
  it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  for (let n = 0; n < 4; n += 1) await it.clock.freeze(60_000);
  assert.ok(it.made.length >= 2);
});

for (const [target, name] of [
  ["window", "online"],
  ["window", "pageshow"],
  ["document", "resume"],
  ["document", "visibilitychange"],
]) {
  test(`on ${name} a half-open line is replaced within three seconds`, async () => {
    let healthy = true;
    const respond = (socket, { type }) => {
      if (type === "ping" && healthy) socket.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
    };
    const it = await connected({ respond });
    healthy = false;
    it[target].dispatchEvent(new Event(name));
    await it.clock.pass(3_000);
    assert.equal(it.made.length, 2);
  });

  test(`on ${name} a page that waits for its next dial dials at once`, async () => {
    const it = await connected();
    it.wire.end(1006);
    it[target].dispatchEvent(new Event(name));
    assert.equal(it.made.length, 2);
  });
}

test("a page that becomes hidden asks nothing", async () => {
  const it = await connected();
  const before = it.wire.sent.length;
  it.document.visibilityState = "hidden";
  it.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(it.wire.sent.length, before);
});

test("in the back/forward cache there is no socket and no timer; on return there is one again", async () => {
  const it = await connected();
  it.window.dispatchEvent(new Event("pagehide"));
  assert.equal(it.wire.closedWith, 1000);
  assert.equal(it.clock.pending, 0);
  await it.clock.pass(3_600_000);
  assert.equal(it.made.length, 1);
  it.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  it.wire.open();
  assert.equal(it.made.length, 2);
  assert.deepEqual(it.wire.of("watch").map(({ ids }) => ids), [["a"]]);
});

test("five seconds after the last bar has gone nothing is left running", async () => {
  const it = await connected();
  it.socket.unwatch("a");
  await settled();
  await it.clock.pass(5_000);
  assert.equal(it.wire.closedWith, 1000);
  assert.equal(it.clock.pending, 0);
  it.socket.watch("a");
  await settled();
  assert.equal(it.made.length, 2);
});

test("what a replaced connection still says is not heard", async () => {
  const it = await connected();
  const old = it.wire;
  it.socket.connect();
  it.wire.open();
  old.onmessage?.({ data: JSON.stringify(frame(snapshot({ title: "from the old line" }))) });
  assert.equal(it.socket.task("a").snapshot, undefined);
});

test("a server that takes everything and says nothing is dialled no more often than one that is away", async () => {
  const asked = [];
  const it = page({ respond: () => {}, fetch: (address) => (asked.push(address), new Promise(() => {})) });
  await import("../../progress/static/progress/fallback.js");
  it.socket.watch("a");
  await settled();
  for (let second = 0; second < 60; second += 1) {
    if (it.wire.readyState === 0) it.wire.open();
    await it.clock.pass(1_000);
    await settled();
  }
  assert.ok(it.made.length <= 6, `${it.made.length} dials in a minute`);
  assert.ok(asked.length > 0, "what is silent is gone round");
});

test("a server that answers late is heard", async () => {
  const it = page({ respond: () => {} });
  it.socket.watch("a");
  await settled();
  it.wire.open();
  await it.clock.pass(9_000);
  it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  await it.clock.pass(20_000);
  assert.equal(it.made.length, 1);
  assert.equal(it.socket.state, "live");
});

test("a refusal with a code of ours is no sign of blocked sockets", async () => {
  const asked = [];
  const it = page({ fetch: (address) => (asked.push(address), new Promise(() => {})) });
  await import("../../progress/static/progress/fallback.js");
  it.socket.watch("a");
  await settled();
  for (let n = 0; n < 10; n += 1) {
    const dials = it.made.length;
    it.wire.open().end(4429);
    while (it.made.length === dials) await it.clock.pass(250);
    await settled();
  }
  assert.deepEqual(asked, []);
});
