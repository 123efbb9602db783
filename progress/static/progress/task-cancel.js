/** The button that cancels: asks, sends the wish once, and says what is known of it until the task does. */

import { cancelWords } from "./more-words.js";
import { put } from "./nodes.js";
import { cancel } from "./requests.js";
import { adopt } from "./task-extras.js";
import { gettext } from "./words.js";

/** @typedef {import("./task-extras.js").View} View */
/** @typedef {import("./task-progress.js").TaskProgress} TaskProgress */

const NOTE_FOR = 10_000; // ms

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
button {
  font: inherit; color: inherit; background: none; cursor: pointer;
  min-block-size: 2.25em; padding: 0 1em; border: 1px solid var(--soft); border-radius: .4em;
}
button:hover { border-color: currentColor; background: var(--track) }
button[aria-disabled="true"] { opacity: .6; cursor: default }
.cancel { font-size: .875em; align-self: start }
dialog {
  box-sizing: border-box; inline-size: min(26rem, 100vw - 2rem); padding: 1.25em 1.5em; line-height: 1.5;
  border: 1px solid var(--soft); border-radius: .6em; font-weight: 400; text-align: start; white-space: normal;
}
dialog::backdrop { background: rgb(0 0 0 / .4) }
dialog :is(h2, p, button) { unicode-bidi: plaintext; text-align: match-parent; text-align: -webkit-match-parent }
dialog h2 { margin: 0; font-size: 1.15em; line-height: 1.3 }
dialog p { margin: .5em 0 1.25em; overflow-wrap: anywhere }
dialog div { display: flex; flex-wrap: wrap; justify-content: end; gap: .75em }
dialog .yes { border-color: var(--bad); color: var(--bad) }
`);

/** Asked by this page, whichever bar the button belongs to. @type {Set<string>} */ const pending = new Set();
/** @type {WeakMap<TaskProgress, View>} */ const views = new WeakMap();
/** @type {WeakMap<TaskProgress, HTMLDialogElement>} */ const dialogs = new WeakMap();
/** @type {WeakMap<TaskProgress, {text: string, timer: any}>} */ const notes = new WeakMap();

/** @param {TaskProgress} element @param {View} view */
export function paint(element, view) {
  const button = view.part.cancel;
  if (!views.has(element)) {
    adopt(/** @type {ShadowRoot} */ (element.shadowRoot), sheet);
    button.type = "button";
    button.textContent = gettext("Cancel");
    button.addEventListener("click", () => press(element));
  }
  const before = views.get(element);
  views.set(element, view);
  const { s } = view;
  const may = view.may.includes("cancel") && s.cancellable !== false && !s.final && !s.cancel_requested;
  if (!may && !button.hidden && element.shadowRoot?.activeElement === button) rest(view);
  put(button, !may, "hidden");
  button.ariaDisabled = String(pending.has(view.id));
  if (!may || before?.id !== view.id) {
    dialogs.get(element)?.close();
    if (before) note(element, "");
  }
}

/** @param {TaskProgress} element */
export function leave(element) {
  dialogs.get(element)?.close();
  note(element, "");
}

/** What is to be read in place of the age. @param {TaskProgress} element */
export const noteOf = (element) => notes.get(element)?.text ?? "";

/** The button goes: who stood on it stays at the bar. @param {View} view */
function rest({ part }) {
  part.box.tabIndex = -1;
  part.box.focus({ preventScroll: true });
}

/** @param {TaskProgress} element */
function press(element) {
  const { id } = /** @type {View} */ (views.get(element));
  if (pending.has(id)) return;
  if (element.getAttribute("confirm") === "no") ask(element, id);
  else confirm(element, id);
}

/** @param {TaskProgress} element @param {string} id */
function confirm(element, id) {
  const { part, s } = /** @type {View} */ (views.get(element));
  const make = (/** @type {string} */ tag, text = "", name = "") => {
    const node = document.createElement(tag);
    node.textContent = text;
    if (name) node.setAttribute("part", name);
    return node;
  };
  const dialog = /** @type {HTMLDialogElement} */ (make("dialog", "", "dialog"));
  const heading = make("h2", gettext("Cancel this task?"));
  const yes = make("button", gettext("Cancel the task"), "confirm");
  const no = make("button", gettext("Let it run"), "dismiss");
  const buttons = make("div");
  for (const [button, answer] of [[no, ""], [yes, "yes"]]) {
    /** @type {any} */ (button).type = "button";
    /** @type {any} */ (button).addEventListener("click", () => dialog.close(/** @type {string} */ (answer)));
  }
  heading.id = "question";
  yes.className = "yes";
  no.autofocus = true;
  dialog.setAttribute("aria-labelledby", "question");
  buttons.append(no, yes);
  dialog.append(heading, make("p", s.title || s.name), buttons);
  dialog.addEventListener("close", () => {
    dialogs.delete(element);
    dialog.remove();
    if (dialog.returnValue === "yes" && views.get(element)?.id === id) ask(element, id);
  });
  dialogs.set(element, dialog);
  part.box.after(dialog);
  dialog.showModal();
}

/** @param {TaskProgress} element @param {string} id */
async function ask(element, id) {
  if (pending.has(id)) return;
  pending.add(id);
  const { socket } = /** @type {View} */ (views.get(element));
  note(element, gettext("asking…"));
  const answer = await cancel(socket, id, { csrf: element.getAttribute("csrf") });
  pending.delete(id);
  if (views.get(element)?.id !== id) return;
  note(element, answer === "accepted" ? gettext("asked to cancel") : cancelWords(answer));
}

/** Say something for a while, where the age of the last update stands. @param {TaskProgress} element @param {string} text */
function note(element, text) {
  const before = notes.get(element);
  if ((before?.text ?? "") === text) return;
  clearTimeout(before?.timer);
  notes.delete(element);
  if (text) {
    notes.set(element, { text, timer: setTimeout(() => note(element, ""), NOTE_FOR) });
    put(views.get(element)?.part.live, text);
  }
  if (element.isConnected) element.handleEvent();
}
