/** The list of runs in the admin: durations move on, and one's own newer runs are told. One socket, no polling. */

import { ProgressSocket } from "./progress-socket.js";
import { watchMine } from "./wishes.js";
import { clockWords, elapsedMs } from "./more-words.js";
import { gettext } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */

/** @param {Element} element @param {Snapshot} snapshot */
function showDuration(element, snapshot) {
  const place = element.closest("tr")?.querySelector(".run-duration");
  const elapsed = elapsedMs(snapshot, Date.parse(snapshot.updated_at));
  if (place && elapsed !== null) place.textContent = clockWords(elapsed);
}

document.addEventListener("task-progress:change", (event) => {
  if (event.target instanceof Element) showDuration(event.target, /** @type {CustomEvent} */ (event).detail);
});

const notice = /** @type {?HTMLElement} */ (document.querySelector(".run-newer"));
const words = notice?.querySelector("span");
if (notice && words) {
  const since = Date.parse(notice.dataset.since ?? "");
  const shown = new Set([...document.querySelectorAll("task-progress")].map((each) => each.getAttribute("task-id")));
  /** @type {Set<string>} */
  const newer = new Set();
  const socket = ProgressSocket.shared(notice.dataset.socket ?? "/ws/progress/");
  socket.addEventListener("snapshot", (event) => {
    const { id, queued_at: queued } = /** @type {CustomEvent<Snapshot>} */ (event).detail;
    if (shown.has(id) || !(Date.parse(queued ?? "") > since)) return;
    newer.add(id);
    const { size: count } = newer;
    words.textContent = count === 1 ? gettext("You have a newer run.") : gettext("You have %(count)s newer runs.", { count });
    notice.hidden = false;
  });
  watchMine(socket);
}
