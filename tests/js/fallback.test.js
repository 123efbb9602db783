import assert from "node:assert/strict";
import { test } from "node:test";

import "../../progress/static/progress/fallback.js"; // loaded before time is ours
import { watchMine } from "../../progress/static/progress/wishes.js";
import { page, settled, snapshot } from "./page.js";

const AT = "2026-01-01T00:00:05.000Z";

/** An open stream that the test writes into. */
class Stream {
  constructor(signal) {
    const body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    this.response = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    signal.addEventListener("abort", () => {
      this.aborted = true;
      try {
        this.controller.error(new DOMException("aborted", "AbortError"));
      } catch {
        // it has ended already
      }
    });
  }
  async say(text) {
    this.controller.enqueue(new TextEncoder().encode(text));
    await turns();
  }
  async end() {
    this.controller.close();
    await turns();
  }
}

const turns = async (n = 20) => {
  for (let i = 0; i < n; i += 1) await settled();
};
const event = (name, data, more = "") => `${more}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const json = (body, etag = 'W/"1"') =>
  new Response(JSON.stringify({ at: AT, items: [], watching: [], ...body }), { headers: { ETag: etag, "Content-Type": "application/json" } });

/** A page whose WebSockets all fail; `answer` is its server. */
async function blocked(answer, prepare = (it) => it.socket.watch("a")) {
  const asked = [];
  const fetch = async (address, { headers, signal }) => {
    const url = new URL(address);
    const one = { url, ids: url.searchParams.getAll("id"), mine: url.searchParams.has("mine"), headers, signal };
    asked.push(one);
    return answer(one, asked.length);
  };
  const it = page({ fetch });
  prepare(it);
  await settled();
  it.made[0].end(1006);
  await it.clock.pass(6_000);
  it.made[1].end(1006);
  await turns();
  await it.clock.pass(0);
  await turns();
  return Object.assign(it, { asked });
}

const streaming = () => {
  const streams = [];
  return Object.assign(({ signal }) => (streams.push(new Stream(signal)), streams.at(-1).response), { streams });
};
const refusing = (then) => (request) =>
  request.headers.Accept === "text/event-stream" ? new Response("no", { status: 406 }) : then(request);

test("one lost dial is an outage; after two the page asks for a stream", async () => {
  const answer = streaming();
  const it = await blocked(answer);
  assert.equal(it.asked.length, 1);
  assert.equal(it.asked[0].headers.Accept, "text/event-stream");
  assert.equal(it.asked[0].url.href, "http://test/progress/?id=a&every_ms=250");
  assert.equal(it.socket.state, "offline");
  const states = [];
  it.socket.addEventListener("state", () => states.push(it.socket.state));
  await answer.streams[0].say(event("heartbeat", { type: "heartbeat", at: AT }));
  await answer.streams[0].say(event("watching", { type: "watching", items: [{ id: "a", may: ["watch", "cancel"] }] }));
  await answer.streams[0].say(event("snapshot", snapshot(), "id: 7\n"));
  assert.deepEqual(states, ["live"]);
  assert.equal(it.socket.transport, "sse");
  assert.deepEqual(it.socket.task("a").may, ["watch", "cancel"]);
  assert.equal(it.socket.task("a").snapshot.fraction, 0.63);
  assert.notEqual(it.socket.serverTime, null);
});

test("events may arrive in any pieces", async () => {
  const answer = streaming();
  const it = await blocked(answer);
  const text = `: hello\n\n${event("snapshot", snapshot({ message: "Zeile für Zeile 一行" }))}`.replaceAll("\n", "\r\n");
  for (const byte of new TextEncoder().encode(text)) answer.streams[0].controller.enqueue(Uint8Array.of(byte));
  await turns(600);
  assert.equal(it.socket.task("a").snapshot.message, "Zeile für Zeile 一行");
});

test("a WebSocket that is heard again ends the stream", async () => {
  const answer = streaming();
  const it = await blocked(answer);
  await answer.streams[0].say(event("heartbeat", { type: "heartbeat", at: AT }));
  await it.clock.pass(6_000);
  it.wire.open();
  await turns();
  assert.equal(it.socket.transport, "websocket");
  assert.equal(it.socket.state, "live");
  assert.equal(answer.streams[0].aborted, true);
  assert.equal(it.asked.length, 1);
});

test("a stream that a proxy holds up is given up after four seconds, for polling", async () => {
  const streams = streaming();
  const it = await blocked((request, n) => (n === 1 ? streams(request) : json({ items: [snapshot()], watching: [{ id: "a", may: ["watch"] }] })));
  assert.equal(it.socket.state, "offline");
  await it.clock.pass(4_000);
  await turns();
  await it.clock.pass(0);
  await turns();
  assert.equal(it.socket.transport, "polling");
  assert.equal(it.socket.state, "live");
  assert.equal(it.socket.task("a").snapshot.current, 630);
});

test("polling is a request in two seconds, with the tag of the last answer", async () => {
  const it = await blocked(refusing(() => json({ items: [snapshot()], watching: [{ id: "a", may: ["watch"] }] })));
  await it.clock.pass(0);
  await turns();
  const before = it.asked.length;
  await it.clock.pass(1_999);
  assert.equal(it.asked.length, before);
  await it.clock.pass(1);
  await turns();
  assert.equal(it.asked.length, before + 1);
  assert.equal(it.asked.at(-1).headers["If-None-Match"], 'W/"1"');
});

test("what is not in the answer cannot be seen, and says so", async () => {
  const it = await blocked(refusing(() => json({})));
  await it.clock.pass(0);
  await turns();
  assert.equal(it.socket.task("a").refused, "not_found");
});

test("fifty bars are one request, and each token has its own", async () => {
  const it = await blocked(refusing(() => json({})), ({ socket }) => {
    for (let n = 0; n < 50; n += 1) socket.watch(`t${n}`);
    socket.watch("x", { token: "of-x" });
    watchMine(socket);
  });
  const polls = it.asked.filter(({ headers }) => headers.Accept === "application/json");
  assert.deepEqual(polls.map(({ ids, mine, headers }) => [ids.length, mine, headers.Authorization]), [
    [50, true, undefined],
    [1, false, "Bearer of-x"],
  ]);
});

test("failing requests become rarer, the page says that it is offline, and it heals by itself", async () => {
  let up = true;
  const it = await blocked(refusing(() => (up ? json({}) : new Response("", { status: 502 }))));
  await it.clock.pass(0);
  await turns();
  assert.equal(it.socket.state, "live");
  up = false;
  for (let n = 0; n < 30; n += 1) {
    await it.clock.pass(1_000);
    await turns();
  }
  assert.notEqual(it.socket.state, "live");
  const failed = it.asked.length;
  assert.ok(failed < 12, `${failed} requests in 30 s`);
  up = true;
  for (let n = 0; n < 10; n += 1) {
    await it.clock.pass(1_000);
    await turns();
  }
  assert.equal(it.socket.state, "live");
});

test("a stream that ends is asked for again after as long as the server says", async () => {
  const answer = streaming();
  const it = await blocked(answer);
  await answer.streams[0].say(`retry: 3500\n${event("closing", { type: "closing", code: 4012, retry_ms: 3500 })}`);
  await answer.streams[0].end();
  await it.clock.pass(3_499);
  assert.equal(it.asked.length, 1);
  await it.clock.pass(1);
  await turns();
  assert.equal(it.asked.length, 2);
});

test("a page that watches something else asks for that; one that watches nothing asks for nothing", async () => {
  const answer = streaming();
  const it = await blocked(answer);
  it.socket.watch("b");
  await turns();
  await it.clock.pass(0);
  await turns();
  assert.deepEqual(it.asked.at(-1).ids, ["a", "b"]);
  assert.equal(answer.streams[0].aborted, true);
  it.socket.unwatch("a");
  it.socket.unwatch("b");
  await turns();
  await it.clock.pass(5_000);
  await turns();
  assert.equal(answer.streams[1].aborted, true);
  assert.equal(it.clock.pending, 0);
});

test("where all has ended the page asks every ten seconds, and opens no stream again", async () => {
  const streams = streaming();
  const done = snapshot({ state: "SUCCESS", final: true });
  let now = done;
  const it = await blocked((request) =>
    request.headers.Accept === "text/event-stream" ? streams(request) : json({ items: [now], watching: [{ id: "a", may: ["watch"] }] }, `W/"${now.seq}"`),
  );
  await streams.streams[0].say(event("snapshot", done));
  await streams.streams[0].end();
  for (let n = 0; n < 60; n += 1) {
    await it.clock.pass(1_000);
    await turns();
  }
  assert.equal(streams.streams.length, 1);
  assert.ok(it.asked.length <= 8, `${it.asked.length} requests in a minute`);
  now = snapshot({ attempt: 2 });
  for (let n = 0; n < 15; n += 1) {
    await it.clock.pass(1_000);
    await turns();
  }
  assert.equal(it.socket.task("a").snapshot.attempt, 2);
  assert.equal(streams.streams.length, 2, "it runs again");
});

test("in the back/forward cache there is no request, and on return the page looks again", async () => {
  const answer = streaming();
  const it = await blocked(answer);
  it.window.dispatchEvent(new Event("pagehide"));
  await turns();
  assert.equal(answer.streams[0].aborted, true);
  assert.equal(it.clock.pending, 0);
  const dials = it.made.length;
  it.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  assert.equal(it.made.length, dials + 1);
});
