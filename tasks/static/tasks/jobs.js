/** The list of one's own jobs: those that start later appear by themselves, wherever they were started. */

import { ProgressSocket } from "../progress/progress-socket.js";

/** @typedef {import("../progress/protocol.d.ts").Snapshot} Snapshot */

const SHOWN = 100; // jobs; older ones leave the page

const list = /** @type {HTMLElement} */ (document.querySelector("#runs"));
const { socket: url = "", run = "" } = list.dataset;
const socket = ProgressSocket.shared(url);

/** @param {string} id */
const rowOf = (id) => list.querySelector(`task-progress[task-id="${CSS.escape(id)}"]`)?.closest("li");

/** @param {Element} row */
const queuedAt = (row) => {
  const id = row.querySelector("task-progress")?.getAttribute("task-id") ?? "";
  return socket.task(id).snapshot?.queued_at ?? "";
};

/** @param {Snapshot} snapshot */
function show({ id, queued_at: queued }) {
  if (rowOf(id)) return;
  const bar = document.createElement("task-progress");
  bar.setAttribute("task-id", id);
  bar.setAttribute("socket", url);
  bar.setAttribute("href", run.replace("__key__", encodeURIComponent(id)));
  bar.setAttribute("compact", "");
  const row = document.createElement("li");
  row.append(bar);
  // Newest first; ISO times sort as text.
  const older = [...list.children].find((other) => queuedAt(other) < (queued ?? "~"));
  list.insertBefore(row, older ?? null);
  while (list.childElementCount > SHOWN) list.lastElementChild?.remove();
  document.querySelector("#no-runs")?.setAttribute("hidden", "");
}

socket.addEventListener("snapshot", (event) => show(/** @type {CustomEvent} */ (event).detail));
socket.watchMine();
