/** Everything that the shipped page code says to a server, one message per line, as it says it. */

import { openLog } from "../../progress/static/progress/log-lines.js";
import { cancel } from "../../progress/static/progress/requests.js";
import { watchMine } from "../../progress/static/progress/wishes.js";
import { FakeWebSocket, page, settled } from "../js/page.js";

const AT = "2026-01-01T00:00:00.000Z";

/** Answers as a server does that lets everybody do everything. */
function respond(socket, { type, ids, id, ref }) {
  if (type === "ping") socket.say({ type: "heartbeat", at: AT });
  if (type === "watch") socket.say({ type: "watching", items: (ids ?? []).map((each) => ({ id: each, may: ["watch"] })) });
  if (type === "logs") socket.say({ type: "logs", id, lines: [], next: "5-0", truncated: false, ref });
  if (type === "cancel") socket.say({ type: "accepted", id, action: "cancel", ref });
}

// Another site than the server: then a page asks over the socket.
globalThis.location = { href: "https://shop.test/", origin: "https://shop.test", protocol: "https:" };
const it = page({ respond });
it.socket.watch("a");
it.socket.watch("b", { token: "a-token" });
watchMine(it.socket);
openLog(it.socket, "c");
await settled();
it.wire.open();
await settled();
await cancel(it.socket, "a");
it.socket.unwatch("b");
await settled();
it.wire.end(1006);
await it.clock.pass(31_000);
it.wire.open();
await it.clock.pass(40_000);
it.socket.close();
for (const socket of FakeWebSocket.made) for (const message of socket.sent) console.log(JSON.stringify(message));
