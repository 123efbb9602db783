import assert from "node:assert/strict";
import { test } from "node:test";

import { ProgressSocket, isNewer } from "../../progress/static/progress/progress-socket.js";
import { watchMine } from "../../progress/static/progress/wishes.js";
import { answerPings, frame, page, settled, snapshot } from "./page.js";

async function connected(...ids) {
  const it = page();
  for (const id of ids) it.socket.watch(id);
  await settled();
  it.wire.open();
  return it;
}

/** A small generator of random numbers, so that a failure can be repeated. */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("30 000 shuffled, doubled and replayed messages never go back and end at the newest", async () => {
  const seed = Date.now() % 2 ** 31;
  const random = randomFrom(seed);
  const ids = ["a", "b", "c"];
  const { socket, wire } = await connected(...ids);
  const newest = new Map();
  const messages = [];
  for (let n = 0; n < 10_000; n += 1) {
    const id = ids[Math.floor(random() * ids.length)];
    const attempt = 1 + Math.floor(n / 2_500);
    const item = snapshot({ id, attempt, current: n, state: n % 2_500 > 2_400 ? "SUCCESS" : "PROGRESS" });
    newest.set(id, item);
    messages.push(item, item, item);
  }
  for (let n = messages.length - 1; n > 0; n -= 1) {
    // Mostly near their place, as networks do it; sometimes from anywhere.
    const other = Math.floor(random() < 0.9 ? Math.max(0, n - random() * 50) : random() * n);
    [messages[n], messages[other]] = [messages[other], messages[n]];
  }
  const shown = new Map(ids.map((id) => [id, 0]));
  for (const id of ids) {
    socket.addEventListener(`task:${id}`, () => {
      const { seq } = socket.task(id).snapshot;
      assert.ok(seq > shown.get(id), `seed ${seed}: ${id} went from ${shown.get(id)} to ${seq}`);
      shown.set(id, seq);
    });
  }
  while (messages.length) wire.say(frame(...messages.splice(0, 1 + Math.floor(random() * 20))));
  for (const id of ids) assert.deepEqual(socket.task(id).snapshot, newest.get(id), `seed ${seed}`);
});

test("only seq decides what is newer, not attempt, run or state", () => {
  const old = snapshot({ attempt: 2, run: 2, state: "SUCCESS", final: true });
  const later = snapshot({ attempt: 1, run: 1, state: "STARTED" });
  assert.ok(isNewer(later, old));
  assert.ok(!isNewer(old, later));
  assert.ok(!isNewer(old, old));
  assert.ok(isNewer(old, undefined));
});

test("a page that was rendered with a newer state is not set back by the socket", async () => {
  const { socket, wire } = await connected("a");
  const [before, rendered] = [snapshot({ current: 1 }), snapshot({ current: 2 })];
  assert.equal(socket.merge(rendered), true);
  wire.say(frame(before));
  assert.equal(socket.task("a").snapshot.current, 2);
});

test("every change of a task is told once, and what else came is told too", async () => {
  const { socket, wire } = await connected("a");
  const told = [];
  for (const name of ["task:a", "snapshot", "watching", "refused", "accepted", "state"]) {
    socket.addEventListener(name, () => told.push(name));
  }
  const item = snapshot();
  wire.say(frame(item)).say(frame(item));
  wire.say({ type: "watching", items: [{ id: "a", may: ["watch", "cancel"], until: null }] });
  wire.say({ type: "accepted", id: "a", action: "cancel" });
  wire.say({ type: "refused", ids: ["b"], code: "not_found" });
  wire.end(1006);
  const expected = ["snapshot", "task:a", "task:a", "watching", "accepted", "refused", "state"];
  assert.deepEqual(told, expected);
  assert.deepEqual(socket.task("a").may, ["watch", "cancel"]);
});

test("frames that make no sense are passed over, and the next one is understood", async () => {
  const { socket, wire } = await connected("a");
  const unknown = ['{"type":"of the future"}', '{"type":"snapshots","at":"?","items":[]}'];
  for (const data of ["", "{", "nonsense", ...unknown]) {
    wire.onmessage({ data });
  }
  wire.say({ type: "snapshots", at: "2026-01-01T00:00:05.000Z", items: [{ ...snapshot(), added_later: 1 }] });
  assert.equal(socket.task("a").snapshot.current, 630);
  assert.equal(socket.state, "live");
  assert.ok(socket.serverTime > 0);
});

test("durations are counted by the server's clock, whatever this machine believes", async () => {
  const { clock, socket, wire } = await connected("a");
  wire.say({ type: "heartbeat", at: "2031-05-05T12:00:00.000Z" });
  await clock.pass(2_500);
  assert.equal(new Date(socket.serverTime).toISOString(), "2031-05-05T12:00:02.500Z");
});

test("a frame that was long under way does not set the clock back", async () => {
  const { clock, socket, wire } = await connected("a");
  wire.say({ type: "heartbeat", at: "2031-05-05T12:00:00.000Z" });
  await clock.pass(1_000);
  wire.say({ type: "heartbeat", at: "2031-05-05T12:00:00.100Z" });
  assert.equal(new Date(socket.serverTime).toISOString(), "2031-05-05T12:00:01.000Z");
});

test("a server with an earlier clock is believed after a reconnect", async () => {
  const it = await connected("a");
  it.wire.say({ type: "heartbeat", at: "2031-05-05T12:00:00.000Z" });
  it.socket.connect();
  it.wire.open();
  it.wire.say({ type: "heartbeat", at: "2031-05-05T11:59:00.000Z" });
  assert.ok(it.socket.serverTime <= Date.parse("2031-05-05T11:59:00.000Z"));
});

test("a bar that is moved within the page costs no message", async () => {
  const { socket, wire } = await connected("a");
  const before = wire.sent.length;
  socket.unwatch("a");
  socket.watch("a");
  await settled();
  assert.equal(wire.sent.length, before);
});

test("a task is unwatched when its last bar is gone, and forgotten", async () => {
  const { socket, wire } = await connected("a", "a", "b");
  wire.say(frame(snapshot()));
  socket.unwatch("a");
  await settled();
  assert.deepEqual(wire.of("unwatch"), []);
  socket.unwatch("a");
  await settled();
  assert.deepEqual(wire.of("unwatch"), [{ type: "unwatch", ids: ["a"] }]);
  wire.say(frame(snapshot())); // was under way
  assert.equal(socket.task("a").snapshot, undefined);
});

test("a renewed token is sent for a task that is watched already", async () => {
  const { socket, wire } = await connected("a");
  socket.watch("a", { token: "renewed" });
  await settled();
  const watches = wire.of("watch").map(({ ids, token }) => [ids, token]);
  assert.deepEqual(watches, [[["a"], undefined], [["a"], "renewed"]]);
});

test("500 tasks with the longest ids are watched in messages of less than 16 KB", async () => {
  const ids = Array.from({ length: 500 }, (_, n) => `${n}`.padStart(200, "x"));
  const { wire } = await connected(...ids);
  const sizes = wire.sent.map((message) => Buffer.byteLength(JSON.stringify(message)));
  assert.ok(Math.max(...sizes) < 16_384);
  assert.ok(wire.sent.length <= 20, "nor in so many that the server takes it for a flood");
  assert.deepEqual(wire.of("watch").flatMap((message) => message.ids), ids);
});

test("tasks of the user that start later are known without being watched one by one", async () => {
  const it = page();
  watchMine(it.socket);
  await settled();
  it.wire.open().say(frame(snapshot({ id: "new" })));
  assert.equal(it.wire.of("watch")[0].mine, true);
  assert.equal(it.socket.task("new").snapshot.id, "new");
});

test("a task that cannot be seen says why, and is asked for again at heartbeats, not for ever", async () => {
  const { clock, socket, wire } = await connected("a");
  wire.say({ type: "refused", ids: ["a"], code: "not_found" });
  assert.equal(socket.task("a").refused, "not_found");
  for (let n = 0; n < 100; n += 1) {
    await clock.pass(15_000);
    wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
    await settled();
    wire.say({ type: "refused", ids: ["a"], code: "not_found" });
  }
  assert.equal(wire.of("watch").length, 21);
  wire.say({ type: "watching", items: [{ id: "a", may: ["watch"], until: null }] });
  assert.equal(socket.task("a").refused, undefined);
});

test("one address has one socket, however it is written", () => {
  globalThis.location = { href: "https://example.test/runs/1/" };
  try {
    const socket = ProgressSocket.shared("/ws/progress/");
    assert.equal(ProgressSocket.shared("https://example.test/ws/progress/"), socket);
    assert.equal(ProgressSocket.shared("wss://example.test/ws/progress/"), socket);
    assert.notEqual(ProgressSocket.shared("/elsewhere/ws/progress/"), socket);
  } finally {
    delete globalThis.location;
  }
});

test("a slow line gets a frame in a second, and a quick one after it four again", async () => {
  const it = page({ respond: () => {} });
  for (let n = 0; n < 120; n += 1) it.socket.watch(`t${n}`);
  await settled();
  it.wire.open();
  await it.clock.pass(300);
  it.wire.say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  await settled();
  const paces = () => it.wire.of("watch").map(({ ids, every_ms: every }) => [ids.length, every]);
  assert.deepEqual(paces(), [[50, 250], [50, 250], [20, 250], [1, 1_000]], "one message sets the pace of a connection");
  it.wire.end(1006);
  await it.clock.pass(6_500);
  it.wire.open().say({ type: "heartbeat", at: "2026-01-01T00:00:00.000Z" });
  await settled();
  assert.deepEqual(paces(), [[50, 250], [50, 250], [20, 250]]);
});
