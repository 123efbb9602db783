import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { cancel } from "../../progress/static/progress/requests.js";
import { answerPings, page, settled } from "./page.js";

const PAGE = { href: "http://test/runs/a/", origin: "http://test", protocol: "http:" };
const cookies = (cookie, field) => ({ cookie, querySelector: () => field ?? null });

afterEach(() => {
  delete globalThis.location;
  delete globalThis.document;
});

/** A page whose server answers requests with `status` and `body`; what was asked is kept. */
function answered(status, body = {}, { url } = {}) {
  const asked = [];
  const fetch = async (address, options) => {
    asked.push({ address, ...options });
    return new Response(JSON.stringify(body), { status });
  };
  return { asked, ...page({ fetch, url }) };
}

test("cancel is a POST to the task's address, with Django's token of the cookie", async () => {
  globalThis.document = cookies("theme=dark; csrftoken=of-the-cookie; x=1");
  const it = answered(202, { id: "a", action: "cancel" });
  assert.equal(await cancel(it.socket, "a/b"), "accepted");
  const [{ address, method, headers }] = it.asked;
  assert.deepEqual([address, method, headers], ["http://test/progress/a%2Fb/cancel/", "POST", { "X-CSRFToken": "of-the-cookie" }]);
});

test("the token of a form of the page comes before the cookie's, and one that is given before both", async () => {
  globalThis.document = cookies("csrftoken=of-the-cookie", { value: "of-the-form" });
  const it = answered(202);
  await cancel(it.socket, "a");
  await cancel(it.socket, "a", { csrf: "given" });
  assert.deepEqual(it.asked.map(({ headers }) => headers["X-CSRFToken"]), ["of-the-form", "given"]);
});

test("who watches with a token asks with it, and needs no other", async () => {
  const it = answered(202);
  it.socket.watch("a", { token: "watch-token" });
  assert.equal(await cancel(it.socket, "a"), "accepted");
  assert.deepEqual(it.asked[0].headers, { Authorization: "Bearer watch-token" });
});

for (const [status, body, said] of [
  [409, { error: "ended" }, "ended"],
  [403, { error: "not_allowed" }, "not_allowed"],
  [404, { error: "not_found" }, "not_found"],
  [403, "<h1>CSRF</h1>", "not_allowed"],
  [200, "<h1>Log in</h1>", "not_allowed"],
  [503, { error: "unavailable" }, "unsent"],
  [502, "<h1>Bad gateway</h1>", "unsent"],
]) {
  test(`an answer ${status} ${JSON.stringify(body)} is told as ${said}`, async () => {
    const it = answered(status, body);
    it.socket.watch("a", { token: "t" });
    assert.equal(await cancel(it.socket, "a"), said);
  });
}

test("no connection is unsent, and so is no answer within five seconds", async () => {
  let fetch = async () => {
    throw new TypeError("Failed to fetch");
  };
  const it = page({ fetch: (...request) => fetch(...request) });
  it.socket.watch("a", { token: "t" });
  assert.equal(await cancel(it.socket, "a"), "unsent");
  fetch = () => new Promise(() => {});
  const slow = cancel(it.socket, "a");
  await settled();
  await it.clock.pass(5_000);
  assert.equal(await slow, "unsent");
});

test("on another site's page, which may not read the answers of a POST, the socket is asked", async () => {
  globalThis.location = { ...PAGE, origin: "https://shop.test" };
  const answers = {
    a: { type: "accepted", id: "a", action: "cancel" },
    b: { type: "refused", ids: ["b"], code: "ended" },
  };
  const respond = (socket, message) => {
    answerPings(socket, message);
    if (message.type === "cancel" && answers[message.id]) socket.say({ ...answers[message.id], ref: message.ref });
  };
  const it = page({ respond });
  assert.equal(await cancel(it.socket, "a"), "unsent");
  it.socket.watch("a");
  it.socket.watch("b");
  await settled();
  it.wire.open();
  assert.equal(await cancel(it.socket, "a"), "accepted");
  assert.equal(await cancel(it.socket, "b"), "ended");
  assert.equal(it.socket.task("b").refused, undefined, "an act was refused, not the view");
  const cut = cancel(it.socket, "c");
  it.wire.end(1006);
  assert.equal(await cut, "unsent");
});
