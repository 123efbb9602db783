/** As much of a browser as `<task-progress>` needs to be built and painted in Node: the element itself is the real one. */

class Part {
  attributes = new Map();
  className = "";
  classList = { toggle: () => {} };
  textContent = "";
  append() {}
  setAttribute(name, value) {
    this.attributes.set(name, value);
  }
  removeAttribute(name) {
    this.attributes.delete(name);
  }
  addEventListener() {}
}

class PretendedElement extends EventTarget {
  #attributes = new Map();
  isConnected = true;
  attachShadow() {
    return new Part();
  }
  getAttribute(name) {
    return this.#attributes.get(name) ?? null;
  }
  hasAttribute(name) {
    return this.#attributes.has(name);
  }
  setAttribute(name, value) {
    this.#attributes.set(name, value);
  }
  querySelector() {
    return null;
  }
}

/**
 * @returns {Promise<{TaskProgress: any, sockets: Map<string, object>, nextFrame: () => void}>} The element, the
 *   sockets that it takes by their address, and how the screen is painted.
 */
export async function pretendToBeABrowser() {
  let frames = [];
  Object.assign(globalThis, {
    HTMLElement: PretendedElement,
    CSSStyleSheet: class {
      replaceSync() {}
    },
    customElements: { get: () => undefined, define: () => {} },
    document: { createElement: () => new Part() },
    window: { setInterval: () => 0 },
    requestAnimationFrame: (call) => frames.push(call),
  });
  const { TaskProgress } = await import("../../progress/static/progress/task-progress.js");
  return {
    TaskProgress,
    sockets: globalThis[Symbol.for("progress.sockets")],
    nextFrame() {
      const due = frames;
      frames = [];
      for (const call of due) call();
    },
  };
}
