/** The page of a run: what came of it appears when it ends, and the parts that it sent are counted. */

/** @typedef {import("../progress/protocol.d.ts").Snapshot} Snapshot */

const AGAIN = 5_000; // ms, when the server could not be asked

/** The page as it is now says it best; this takes its part below the bar. */
async function renew() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status >= 500) throw new TypeError(`Expected the page, got ${answer.status}`);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("#outcome");
    if (fresh) document.querySelector("#outcome")?.replaceWith(document.importNode(fresh, true));
  } catch {
    setTimeout(renew, AGAIN); // the bar says that there is no connection
  }
}

/** @param {Snapshot} snapshot */
function count({ children }) {
  if (!children) return;
  const { known, ended, failed } = children;
  for (const [name, number] of Object.entries({ ended, failed })) {
    const place = document.querySelector(`#parts-${name}`);
    if (place && place.textContent !== String(number)) place.textContent = String(number);
  }
  if (ended === known && allEnded !== known) {
    allEnded = known;
    renew(); // nothing is left to be called off
  }
}

/** Only staff are told; which it is, is known when it has begun. @param {Snapshot & {worker?: string}} snapshot */
function tellWorker({ worker }) {
  const place = /** @type {?HTMLElement} */ (document.querySelector("#run-worker"));
  if (!place || !worker) return;
  const words = /** @type {HTMLElement} */ (place.querySelector("dd"));
  if (words.textContent !== worker) words.textContent = worker;
  place.hidden = false;
}

/** @param {Snapshot} snapshot */
function take(snapshot) {
  count(snapshot);
  tellWorker(snapshot);
}

let allEnded = 0; // parts, when that was last noticed
const bar = document.querySelector(".run task-progress");
bar?.addEventListener("task-progress:end", renew);
bar?.addEventListener("task-progress:change", (event) => take(/** @type {CustomEvent} */ (event).detail));

// A brief job may have ended, and said so, before this script was loaded.
const rendered = /** @type {?Snapshot} */ (JSON.parse(bar?.getAttribute("snapshot") ?? "null"));
const known = /** @type {?import("../progress/task-progress.js").TaskProgress} */ (bar)?.snapshot;
if (known) take(known);
if (known?.final && !rendered?.final) renew();
