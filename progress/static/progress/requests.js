/** What a page asks of the server, once. */

/** @typedef {import("./progress-socket.js").ProgressSocket} ProgressSocket */

const ANSWER = 5_000; // ms

let refs = 0;

/**
 * Ask that a task be cancelled, by `POST`. Where the server is another site than the page, which gets no cookie of it and
 * may not read its answers, it is asked over the socket.
 * @param {ProgressSocket} socket
 * @param {string} id
 * @param {{csrf?: ?string}} [options] `csrf`: Django's token, where it is neither in a cookie nor in a form of the page
 * @returns {Promise<string>} "accepted": the wish is recorded, the task runs on until it notices. "unsent": no answer
 *   in 5 s. Else the code of the refusal.
 */
export function cancel(socket, id, { csrf } = {}) {
  const { origin = "null", protocol = "" } = globalThis.location ?? {};
  const elsewhere = protocol.startsWith("http") && new URL(socket.http).origin !== origin;
  const end = new AbortController();
  const answer = elsewhere ? overSocket(socket, id, end.signal) : post(socket, id, csrf, end.signal);
  /** @type {any} */ let timer;
  const late = new Promise((done) => (timer = socket.host.setTimeout(() => done("unsent"), ANSWER)));
  return Promise.race([answer, late]).finally(() => {
    socket.host.clearTimeout(timer);
    end.abort();
  });
}

/** @param {ProgressSocket} socket @param {string} id @param {?string | undefined} csrf @param {AbortSignal} signal */
async function post(socket, id, csrf, signal) {
  const token = socket.tasks.get(id)?.token;
  try {
    const answer = await socket.host.fetch(`${socket.http}${encodeURIComponent(id)}/cancel/`, {
      method: "POST",
      headers: token ? { Authorization: `Bearer ${token}` } : { "X-CSRFToken": csrf || csrfToken() },
      signal,
    });
    if (answer.status === 202) return "accepted"; // and not a page to log in, say
    return codeOf(answer.status, await answer.json().catch(() => ({})));
  } catch {
    socket.connection.ping(); // is anything heard at all?
    return "unsent";
  }
}

/** @param {number} status @param {{error?: string}} answer */
function codeOf(status, { error }) {
  return status >= 500 ? "unsent" : (error ?? "not_allowed");
}

function csrfToken() {
  const field = /** @type {?HTMLInputElement} */ (document.querySelector("[name=csrfmiddlewaretoken]"));
  return field?.value ?? /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
}

/** @param {ProgressSocket} socket @param {string} id @param {AbortSignal} signal @returns {Promise<string>} */
function overSocket(socket, id, signal) {
  const ref = `cancel-${(refs += 1)}`;
  return new Promise((answered) => {
    const listen = (/** @type {string} */ type, /** @type {(frame: any) => void} */ call) =>
      socket.addEventListener(type, (event) => call(/** @type {CustomEvent} */ (event).detail), { signal });
    listen("accepted", (frame) => frame.ref === ref && answered("accepted"));
    listen("refused", (frame) => frame.ref === ref && answered(frame.code));
    listen("state", () => socket.connection.open || answered("unsent")); // what was asked over it stays unanswered
    if (!socket.connection.send({ type: "cancel", id, ref })) answered("unsent");
  });
}
