/** The page of a run in the admin: what stands below the bar is fetched again when the run comes into another state. */

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */

const SETTLE = 300; // ms: several changes are one fetch

/** @type {number | undefined} */
let timer;
let again = false;
let fetching = false;

async function renew() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("#run-details");
    const there = document.querySelector("#run-details");
    // Who is about to press something keeps it: the state below the bar is never more than a hint.
    if (fresh && there && !there.contains(document.activeElement)) there.replaceWith(document.importNode(fresh, true));
  } catch {
    // No connection: the bar says so, and its next change asks again.
  } finally {
    fetching = false;
    if (again) soon();
    again = false;
  }
}

function soon() {
  clearTimeout(timer);
  timer = window.setTimeout(renew, SETTLE);
}

/** @param {Snapshot} s */
const stage = (s) => [s.run, s.attempt, s.state, !!s.cancel_requested].join(" ");

const bar = /** @type {?import("./task-progress.js").TaskProgress} */ (document.querySelector(".run-live task-progress"));
if (bar) {
  const rendered = /** @type {?Snapshot} */ (JSON.parse(bar.getAttribute("snapshot") ?? "null"));
  let seen = rendered ? stage(rendered) : "";
  /** @param {Snapshot} snapshot */
  const look = (snapshot) => {
    if (stage(snapshot) === seen) return;
    seen = stage(snapshot);
    soon();
  };
  bar.addEventListener("task-progress:change", (event) => look(/** @type {CustomEvent} */ (event).detail));
  // A brief run may have ended, and said so, before this script was loaded.
  if (bar.snapshot) look(bar.snapshot);
}

export {}; // a module, as the page says
