/** Server-Sent Events out of a `fetch`: unlike `EventSource` that can send a token, and be told apart from an outage. */

/** @typedef {{event: string, data?: string, retry?: number}} ServerEvent */

/**
 * The events of a stream as they come. Lines may arrive in pieces; what the end cuts off is no event.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* events(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop() ?? "";
      yield* blocks.map(parsed);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @param {string} block @returns {ServerEvent} */
function parsed(block) {
  /** @type {ServerEvent} */
  const found = { event: "message" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(event|data|retry): ?(.*)$/.exec(line) ?? [];
    if (name === "event") found.event = value;
    else if (name === "retry") found.retry = Number(value);
    else if (name === "data") found.data = found.data === undefined ? value : `${found.data}\n${value}`;
  }
  return found;
}
