/** A WebSocket that never gives up. It knows nothing of tasks. Its states: `docs/browser.md`. Times in ms. */

const SILENCE = 35_000; // three heartbeats
const PONG = 3_000;
const DIAL = 10_000;
const LATE = 1_000; // a timer later than this proves that the page stood still
const LIVED = 5_000; // what ends sooner was no success

/** 6 s wide from the start: pages that lose one server together do not return together. After a tunnel 9 s are long. */
export const backoff = (attempt = 0, random = Math.random) =>
  500 + random() * ((attempt < 4 ? 6_000 : attempt < 24 ? 9_000 : 30_000) - 500);

/** @type {import("./protocol.d.ts").Connect} */
export function connect(url, host, owner) {
  const { document, window } = host;
  const now = () => host.performance.now();
  /** @type {?WebSocket} */ let socket = null;
  /** @type {any} */ let timer; // one: for the dial, silence, a ping, or the next dial
  /** @type {number | undefined} */ let dictated;
  let [attempt, unheard, misses, frames, heard, opened, notBefore] = [0, 0, 0, 0, 0, Infinity, 0];

  /** @type {import("./protocol.d.ts").Connection} */
  const connection = {
    state: "connecting",
    get open() {
      return socket?.readyState === 1;
    },
    get idle() {
      return !socket && timer === undefined && connection.state !== "refused";
    },
    send(message) {
      if (connection.open) socket?.send(JSON.stringify(message));
      return connection.open;
    },
    dictate(wait) {
      dictated = wait;
    },
    close(state = "connecting") {
      drop();
      if (connection.state !== "refused") become(state);
    },
    dial() {
      drop();
      if (connection.state === "refused") become("connecting");
      try {
        const fresh = (socket = new host.WebSocket(url));
        fresh.onopen = () => fresh === socket && begin();
        fresh.onmessage = ({ data }) => fresh === socket && hear(data);
        fresh.onclose = ({ code }) => fresh === socket && lose(code);
      } catch {
        return lose(); // a policy of the page forbids it
      }
      judge(DIAL, () => frames > 0, () => {
        unheard += 1; // it hung: that counts twice
        lose();
      });
    },
    ping() {
      const before = frames;
      if (!before || !connection.send({ type: "ping" })) return;
      judge(PONG, () => frames > before, () => {
        connection.dial();
        become("offline");
      });
    },
  };

  function begin() {
    opened = heard = now();
    dictated = undefined;
    owner.opened();
    connection.send({ type: "ping" }); // to be heard at once, whatever is watched
  }

  function hear(text = "") {
    heard = now();
    frames += 1;
    unheard = 0;
    become("live");
    owner.received(text);
  }

  function awaitSilence() {
    arm(heard + SILENCE - now(), () => {
      if (now() - heard < SILENCE) return awaitSilence();
      become("stale");
      connection.ping();
    });
  }

  function lose(code = 0) {
    if (now() - opened >= LIVED) attempt = 0;
    const wait = dictated;
    drop();
    misses = code === 4404 ? misses + 1 : 0;
    if (code === 4429) attempt = 24; // too many of us
    if ([4400, 4401, 4403].includes(code) || misses > 2) return become("refused");
    notBefore = now() + (wait ?? 0);
    arm(wait ?? (misses ? 1_500 : backoff(attempt++, () => host.Math.random())), connection.dial);
    become("offline");
    if (code < 4000 && ++unheard > 1) owner.blocked(); // whoever gives a code of ours has let us through
  }

  function drop() {
    host.clearTimeout(timer);
    timer = dictated = undefined;
    opened = Infinity;
    frames = 0;
    const old = socket;
    socket = null; // its handlers are deaf from here on
    old?.close(1000);
  }

  /** @type {import("./protocol.d.ts").Judge} */
  function judge(wait, well, otherwise, again = true) {
    arm(wait, (late) => {
      if (well()) awaitSilence();
      else if (late && again) judge(PONG, well, otherwise, false); // what it waits for may be next in the queue
      else otherwise();
    });
  }

  /** @param {number} wait @param {(late: boolean) => void} call */
  function arm(wait, call) {
    host.clearTimeout(timer);
    const due = now() + wait;
    timer = host.setTimeout(() => {
      timer = undefined;
      call(now() - due > LATE);
    }, wait);
  }

  /** @param {import("./protocol.d.ts").SocketState} state */
  function become(state) {
    if (state === connection.state) return;
    connection.state = state;
    owner.changed();
  }

  const wake = () => {
    if (document?.visibilityState === "hidden" || connection.state === "refused" || !owner.busy) return;
    if (connection.open) connection.ping();
    else if (!socket && now() >= notBefore) connection.dial();
  };
  for (const name of ["online", "offline", "pageshow"]) window?.addEventListener(name, wake);
  for (const name of ["resume", "visibilitychange"]) document?.addEventListener(name, wake);
  // An open socket keeps a page out of the back/forward cache, or is cut there without a word.
  window?.addEventListener("pagehide", () => connection.close("offline"));
  return connection;
}
