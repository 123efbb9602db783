/** As much of a browser as `<task-progress>` needs to be built and painted in Node: the element itself is the real one. */

class Part {
  attributes = new Map();
  className = "";
  classList = { toggle: () => {} };
  textContent = "";
  style = {};
  parentElement = null;
  adoptedStyleSheets = [];
  append(...nodes) {
    for (const node of nodes) if (node instanceof Part) node.parentElement = this;
  }
  before() {}
  after() {}
  remove() {}
  replaceChildren() {}
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
  shadowRoot = null;
  attachShadow() {
    this.shadowRoot = new Part();
    return this.shadowRoot;
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
  removeAttribute(name) {
    this.#attributes.delete(name);
  }
  matches() {
    return false; // of what a bar may be given, these tests give nothing
  }
  querySelector() {
    return null;
  }
}

/**
 * @returns {Promise<{TaskProgress: any, nextFrame: () => void}>} The element, and how the screen is painted.
 */
export async function pretendToBeABrowser() {
  const { setTimeout } = globalThis;
  let frames = [];
  Object.assign(globalThis, {
    HTMLElement: PretendedElement,
    CSSStyleSheet: class {
      replaceSync() {}
    },
    customElements: { get: () => undefined, define: () => {} },
    document: { createElement: () => new Part() },
    requestAnimationFrame: (call) => frames.push(call),
    setTimeout: (call, ms) => (ms < 1_000 ? frames.push(call) : setTimeout(call, ms)), // until a frame is wanted
  });
  const { TaskProgress } = await import("../../progress/static/progress/task-progress.js");
  return {
    TaskProgress,
    nextFrame() {
      while (frames.length) frames.shift()();
    },
  };
}
