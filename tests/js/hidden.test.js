import assert from "node:assert/strict";
import { test } from "node:test";

import { watchMine, watchTree } from "../../progress/static/progress/wishes.js";
import { page, settled, snapshot, frame } from "./page.js";

async function watching(...options) {
  const it = page();
  options.forEach((option, n) => (option === "mine" ? watchMine(it.socket) : it.socket.watch("abc"[n], option)));
  await settled();
  it.wire.open();
  return {
    ...it,
    get wire() {
      return it.made.at(-1);
    },
    async become(visibilityState) {
      it.document.visibilityState = visibilityState;
      it.document.dispatchEvent(new Event("visibilitychange"));
      await settled();
    },
  };
}

test("a page that is hidden for thirty seconds watches nothing and has no connection", async () => {
  const it = await watching({}, {});
  await it.become("hidden");
  await it.clock.pass(29_999);
  assert.equal(it.wire.closedWith, null);
  await it.clock.pass(1);
  assert.deepEqual(it.wire.of("unwatch").at(-1), { type: "unwatch", all: true });
  assert.equal(it.wire.closedWith, 1000);
  await it.clock.pass(3_600_000);
  assert.equal(it.made.length, 1);
});

test("seen again it watches everything at once", async () => {
  const it = await watching({}, { token: "of-b" });
  await it.become("hidden");
  await it.clock.pass(60_000);
  await it.become("visible");
  assert.equal(it.made.length, 2);
  it.wire.open();
  assert.deepEqual(it.wire.of("watch").map(({ ids, every_ms: every }) => [ids, every]), [[["a"], 250], [["b"], 250]]);
});

test("a glance at another tab changes nothing", async () => {
  const it = await watching({});
  await it.become("hidden");
  await it.clock.pass(20_000);
  await it.become("visible");
  await it.clock.pass(20_000);
  assert.equal(it.wire.of("unwatch").length, 0);
  assert.equal(it.made.length, 1);
});

test("a task that somebody wants to be told of stays watched, at a calm pace", async () => {
  const it = await watching({ whileHidden: true }, {});
  await it.become("hidden");
  await it.clock.pass(30_000);
  assert.equal(it.wire.closedWith, null);
  assert.deepEqual(it.wire.of("watch").at(-1), { type: "watch", every_ms: 5_000, ids: ["a"] });
  it.wire.say(frame(snapshot({ id: "a", state: "SUCCESS", final: true })));
  assert.equal(it.socket.task("a").snapshot.final, true);
  await it.become("visible");
  assert.deepEqual(it.wire.of("watch").at(-1), { type: "watch", every_ms: 250, ids: ["a", "b"] });
});

test("one's own tasks are followed only while the page is seen", async () => {
  const it = await watching("mine");
  await it.become("hidden");
  await it.clock.pass(30_000);
  assert.equal(it.wire.closedWith, 1000);
  await it.become("visible");
  it.wire.open();
  assert.equal(it.wire.of("watch")[0].mine, true);
});

test("who no longer wants to know of one's own tasks keeps what else is watched", async () => {
  const it = await watching({});
  const noLonger = watchMine(it.socket);
  const left = watchTree(it.socket, "t");
  await settled();
  noLonger();
  await settled();
  const told = it.wire.sent.filter(({ type }) => type !== "ping").map(({ type, ids, mine, tree, all }) => [type, ids ?? mine ?? tree ?? all]);
  assert.deepEqual(told.slice(-3), [["unwatch", true], ["watch", ["a"]], ["watch", "t"]]);
  left();
  await settled();
  assert.deepEqual(it.wire.of("unwatch").at(-1).ids, ["t"]);
});

test("what two want is asked for once, and given up with the second; a move in one turn is not heard of", async () => {
  const it = await watching({});
  const [one, other] = [watchMine(it.socket), watchMine(it.socket)];
  await settled();
  one();
  one();
  await settled();
  assert.equal(it.wire.of("unwatch").length, 0);
  other();
  const again = watchMine(it.socket);
  await settled();
  assert.equal(it.wire.of("unwatch").length, 0);
  again();
  await settled();
  assert.deepEqual(it.wire.of("unwatch"), [{ type: "unwatch", all: true }]);
});

test("a page that was opened in the background sleeps, too", async () => {
  const it = page({ visibilityState: "hidden" });
  it.socket.watch("a");
  await settled();
  it.wire.open();
  await it.clock.pass(30_000);
  assert.equal(it.wire.closedWith, 1000);
});

test("who comes later is told of the workflow what the others know", async () => {
  const it = await watching({});
  const seen = [];
  it.socket.addEventListener("tree", ({ detail }) => seen.push(detail.ended));
  const left = watchTree(it.socket, "t");
  await settled();
  it.wire.say({ type: "tree", id: "t", members: [], known: 3, ended: 3, failed: 0, counts: {} });
  watchTree(it.socket, "t");
  await settled();
  assert.deepEqual(seen, [3, 3]);
  left();
  await settled();
  assert.equal(it.wire.of("unwatch").length, 0);
});

test("who gives up a workflow does not ask again for what else is watched", async () => {
  const it = await watching({}, {});
  const left = watchTree(it.socket, "t");
  watchTree(it.socket, "u");
  await settled();
  const before = it.wire.of("watch").length;
  left();
  await settled();
  const after = it.wire.of("watch").slice(before).map(({ ids, tree }) => ids ?? tree);
  assert.deepEqual(after, ["u"], "it may have the same members");
});
