/** Making and changing elements, for all that is seen beside the plain bar. */

/**
 * @param {string} tag
 * @param {string} name its class
 * @param {string} [part] what a site's style sheet calls it
 * @returns {HTMLElement}
 */
export function make(tag, name, part = "") {
  const node = document.createElement(tag);
  node.className = name;
  if (part) node.setAttribute("part", part);
  return node;
}

/** Set what is another value; the same again would cost a layout. @param {any} node @param {any} value @param {string} [name] */
export function put(node, value, name = "textContent") {
  if (node[name] !== value) node[name] = value;
}
