import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { openLog } from "../../progress/static/progress/log-lines.js";
import { cancel } from "../../progress/static/progress/requests.js";
import { watchMine } from "../../progress/static/progress/wishes.js";
import { page, settled } from "./page.js";

// Another site than the server: then a page asks over the socket.
globalThis.location = { href: "https://shop.test/", origin: "https://shop.test", protocol: "https:" };

const FOLDER = new URL("../golden/", import.meta.url);
const releases = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !entry.name.startsWith("_"))
  .map((entry) => entry.name);

/** @param {string} release @param {string} name */
const read = (release, name) => JSON.parse(readFileSync(new URL(`${release}/${name}.json`, FOLDER), "utf8"));

/** With a field that a later release may add, here and in each item. */
const richer = (message) => ({
  ...message,
  added_later: [1],
  ...(message.items && { items: message.items.map((item) => ({ ...item, added_later: {} })) }),
});

/** Without what may be left out: fields that are null. */
const poorer = (message) => JSON.parse(JSON.stringify(message, (_, value) => value ?? undefined));

assert.ok(releases.length >= 2);

for (const release of releases) {
  for (const [name, changed] of Object.entries({ "as it was": (m) => m, "with more": richer, "with less": poorer })) {
    test(`a page understands the server of ${release}, ${name}`, async () => {
      const told = Object.values(read(release, "told")).flat();
      const of = (type) => told.filter((message) => message.type === type);
      const { socket, made } = page({ respond: () => {} });
      const shown = new Map();
      const items = of("snapshots").flatMap((message) => message.items);
      for (const { id, seq } of items) shown.set(id, Math.max(seq, shown.get(id) ?? 0));
      for (const id of shown.keys()) socket.watch(id);
      const { id: logged } = of("logs")[0];
      const log = openLog(socket, logged);
      await settled();
      const wire = made.at(-1).open();
      await settled();
      const answer = cancel(socket, of("accepted")[0].id);
      const { ref } = wire.of("cancel")[0];
      for (const message of told) wire.say(changed({ ...message, ...(message.type === "accepted" && { ref }) }));
      assert.ok(items.length > 5);
      for (const [id, seq] of shown) {
        const { snapshot } = socket.task(id);
        assert.equal(snapshot.seq, seq);
        assert.equal(typeof snapshot.state, "string");
      }
      const named = of("watching").flatMap((message) => message.items);
      assert.ok(named.length > 0);
      for (const { id, may } of named) if (shown.has(id)) assert.deepEqual(socket.task(id).may, may);
      assert.equal(await answer, "accepted");
      assert.ok(log.cursor);
      assert.equal(Number.isNaN(socket.serverTime), false);
      assert.equal(socket.state, "live");
    });
  }

  test(`a page says nothing that the server of ${release} would not know`, async () => {
    const known = read(release, "said");
    const { socket, made, clock } = page({ respond: () => {} });
    socket.watch("a");
    socket.watch("b", { token: "t" });
    watchMine(socket);
    openLog(socket, "a");
    openLog(socket, "c", { after: "1-0" });
    await settled();
    const wire = made.at(-1).open();
    void cancel(socket, "a");
    socket.unwatch("b");
    await settled();
    await clock.pass(60_000);
    assert.ok(wire.sent.length > 5);
    for (const message of made.flatMap(({ sent }) => sent)) {
      const fields = new Set(["type", "ref", ...(known[message.type] ?? []).flatMap(Object.keys)]);
      assert.ok(known[message.type], `${message.type} is not known`);
      for (const field of Object.keys(message)) assert.ok(fields.has(field), `${message.type} has ${field}`);
    }
  });
}
