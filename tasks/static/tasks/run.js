/** The page of a run: what came of it appears when it ends, and the parts that it sent are counted. */

/** @typedef {import("../progress/protocol.d.ts").Snapshot} Snapshot */

/** The page as it is now says it best; this takes its part below the bar. */
async function renew() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("#outcome");
  if (fresh) document.querySelector("#outcome")?.replaceWith(document.importNode(fresh, true));
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

let allEnded = 0; // parts, when that was last noticed
const bar = document.querySelector(".run task-progress");
bar?.addEventListener("task-progress:end", renew);
bar?.addEventListener("task-progress:change", (event) => count(/** @type {CustomEvent} */ (event).detail));

// A brief job may have ended, and said so, before this script was loaded.
const rendered = /** @type {?Snapshot} */ (JSON.parse(bar?.getAttribute("snapshot") ?? "null"));
const known = /** @type {?import("../progress/task-progress.js").TaskProgress} */ (bar)?.snapshot;
if (known) count(known);
if (known?.final && !rendered?.final) renew();
