/** The page of examples: first the replayed connections, then the elements, then what a reader would do. */

import { replay } from "./replay.js";

const page = /** @type {HTMLElement} */ (document.querySelector("[data-recording]"));
// Browsers differ in what they allow before anybody was asked; here nobody was asked yet, and whoever is says yes.
Object.defineProperty(globalThis, "Notification", {
  value: class {
    static permission = "default";
    static requestPermission = async () => "granted";
  },
});

const connections = await replay(page.dataset.base ?? "", page.dataset.recording ?? "");
await Promise.all([
  import("../../progress/task-progress.js"),
  import("../../progress/task-list.js"),
  import("../../progress/task-log.js"),
]);
await frames(2); // what they asked for has come
for (const name of ["stale", "offline", "refused", "unsent"]) connections.get(name)?.breakdown();
scrollUp();
act();
for (const button of document.querySelectorAll("button[data-copy]")) button.addEventListener("click", copy);
await frames(2);
page.dataset.ready = "";

/** Somebody reads older lines while newer ones come. */
function scrollUp() {
  const log = document.querySelector('task-log[socket$="/paused/"]');
  if (!log) return;
  log.scrollTop = 0;
  requestAnimationFrame(() => connections.get("paused")?.server.moreLines("log"));
}

/** What a reader would do to see it: open the parts, press the button, go up. Both come a moment after their bar. */
async function act() {
  const stages = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-acts]"));
  for (const { firstElementChild: element, dataset } of stages) {
    const inside = (/** @type {string} */ selector) => /** @type {?HTMLElement} */ (element?.shadowRoot?.querySelector(selector));
    if (dataset.acts === "open") (await seen(() => inside("details:not([hidden])")))?.setAttribute("open", "");
    else if (dataset.acts === "cancel") (await seen(() => inside(".cancel:not([hidden])")))?.click();
    else if (element) element.scrollTop = 0;
  }
}

/** What `find` finds, within 5 s. @param {() => ?HTMLElement} find */
async function seen(find) {
  for (const end = performance.now() + 5_000; !find() && performance.now() < end; ) await frames(1);
  return find();
}

/** @param {Event} event */
async function copy(event) {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  const text = button.closest(".example")?.querySelector("pre")?.textContent ?? "";
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = button.dataset.copied ?? "";
  } catch {
    return; // the mark-up can be selected
  }
  setTimeout(() => (button.textContent = before), 2_000);
}

/** @param {number} count */
async function frames(count) {
  for (let left = count; left; left -= 1) await new Promise(requestAnimationFrame);
}
