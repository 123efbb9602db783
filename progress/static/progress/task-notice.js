/**
 * Tells of an end that somebody waited for: in the title and on the app's badge while nobody looks at the page, by a
 * notification of the desktop, by going to another page. Once per execution, however many bars show it, and never
 * for ends that the page was rendered with.
 */

import { adopt } from "./task-extras.js";
import { gettext, mood, stateWords } from "./words.js";

/** @typedef {import("./protocol.d.ts").Snapshot} Snapshot */
/** @typedef {import("./task-progress.js").TaskProgress} TaskProgress */

const FAREWELL = 5_000; // ms for which a button says why it goes

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.tell {
  justify-self: start; margin-block-start: .4em; min-block-size: 2.25em; padding: 0 1em; cursor: pointer;
  font: inherit; font-size: .875em; color: inherit; background: none; border: 1px solid var(--soft); border-radius: .4em;
}
.tell:hover { border-color: currentColor; background: var(--track) }
.tell:disabled { border-color: transparent; padding: 0; cursor: default; background: none }
`);

/** What the page has seen unfinished. @type {Set<string>} */ const seen = new Set();
/** Told. @type {Set<string>} */ const told = new Set();
/** @type {WeakMap<TaskProgress, HTMLButtonElement>} */ const buttons = new WeakMap();
/** Since somebody looked. @type {Snapshot[]} */ let unseen = [];
let [own, original] = ["", ""]; // titles

/**
 * @param {TaskProgress} element
 * @param {{box: HTMLElement, live: HTMLElement}} part
 * @param {Snapshot | undefined} s
 * @param {boolean} waited the element has seen it unfinished
 */
export function attend(element, part, s, waited) {
  if (!s) return;
  const ways = (element.getAttribute("notify") ?? "").split(/\s+/);
  if (ways.includes("desktop")) offer(element, part, s);
  if (!s.final) return void seen.add(s.id);
  if (!waited && !seen.has(s.id)) return;
  for (const way of ways) if (first(way, s)) tell(way, s);
  const url = element.getAttribute("success-url");
  if (url && s.state === "SUCCESS" && first("leave", s)) leaveFor(url, element, s);
}

/** @param {TaskProgress} element */
export function leave(element) {
  buttons.get(element)?.remove();
  buttons.delete(element);
}

/** @param {string} way @param {Snapshot} s @returns {boolean} true once per execution */
function first(way, { id, run, attempt }) {
  const name = JSON.stringify([way, id, run, attempt]);
  return !told.has(name) && Boolean(told.add(name));
}

/** @param {string} way @param {Snapshot} s */
function tell(way, s) {
  if (way === "desktop") return notify(s);
  if (document.visibilityState !== "hidden") return; // it is being looked at
  if (way === "title" || way === "badge") {
    if (!unseen.includes(s)) unseen.push(s);
    if (way === "title") entitle();
    else /** @type {any} */ (navigator).setAppBadge?.(unseen.length).catch(() => {});
  }
}

function entitle() {
  if (document.title !== own) original = document.title;
  const failed = unseen.filter((s) => mood(s) === "bad").length;
  const sign = failed ? "✗" : "✓";
  const count = unseen.length;
  const words =
    count === 1
      ? stateWords(unseen[0], null, true)
      : failed
        ? gettext("%(count)s ended, %(failed)s failed", { count, failed })
        : gettext("%(count)s ended", { count });
  const cancelled = count === 1 && mood(unseen[0]) === "over";
  document.title = own = gettext("%(news)s – %(title)s", { news: cancelled ? words : `${sign} ${words}`, title: original });
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") return;
  if (unseen.length) /** @type {any} */ (navigator).clearAppBadge?.().catch(() => {});
  unseen = [];
  if (own && document.title === own) document.title = original; // else the page has another by now
  own = "";
});

/** @param {Snapshot} s */
function notify(s) {
  if (typeof Notification === "undefined" || Notification.permission !== "granted" || document.hasFocus()) return;
  try {
    const notice = new Notification(stateWords(s, null, true), { body: s.title || s.name, tag: s.id });
    notice.onclick = () => {
      window.focus();
      notice.close();
    };
  } catch {
    // phones want a service worker for this; title and badge are left
  }
}

/** Permission is asked for by a click only. @param {TaskProgress} element @param {any} part @param {Snapshot} s */
function offer(element, part, s) {
  const wanted = typeof Notification !== "undefined" && Notification.permission === "default" && !s.final;
  const before = buttons.get(element);
  if (!wanted || before) return void (before && !before.disabled && (wanted || leave(element)));
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "tell", textContent: gettext("Tell me when it is done") });
  button.setAttribute("part", "tell");
  adopt(/** @type {ShadowRoot} */ (element.shadowRoot), sheet);
  button.addEventListener("click", async () => {
    const answer = await Notification.requestPermission();
    if (answer === "default") return; // neither yes nor no
    button.disabled = true;
    button.textContent =
      answer === "granted" ? gettext("You will be told.") : gettext("This browser does not let the page tell you.");
    part.live.textContent = button.textContent;
    setTimeout(() => leave(element), FAREWELL);
  });
  buttons.set(element, button);
  part.box.append(button);
}

/** @param {string} address @param {TaskProgress} element @param {Snapshot} snapshot */
function leaveFor(address, element, snapshot) {
  let url;
  try {
    url = new URL(address, document.baseURI);
  } catch {
    return console.warn(`<task-progress> success-url: expected an address, got "${address}". Nobody is sent there.`);
  }
  if (!["http:", "https:"].includes(url.protocol)) {
    return console.warn(`<task-progress> success-url: expected http or https, got "${address}". Nobody is sent there.`);
  }
  const detail = { snapshot, url: url.href };
  const options = { detail, bubbles: true, composed: true, cancelable: true };
  if (element.dispatchEvent(new CustomEvent("task-progress:leave", options))) location.assign(url);
}
