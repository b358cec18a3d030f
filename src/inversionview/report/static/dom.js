/**
 * Elements from plain calls. Text only ever becomes text nodes, and styles are set one property at a time, so that
 * nothing a model or a user wrote can become markup, and a strict content security policy holds.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes; `on` holds listeners, `style` properties, `class` names
 * @param {...any} children nodes, strings, numbers, lists of these; null, undefined and false are left out
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/**
 * Make an element of a drawing.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...any} children
 * @returns {any}
 */
export function s(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (name === "style") for (const [key, to] of Object.entries(value)) element.style.setProperty(key, `${to}`);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : `${value}`);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/**
 * Put other children in place of those there are.
 * @param {any} element
 * @param {...any} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

let made = 0;

/** A name that no other element of this page has. */
export function unique(stem = "iv") {
  made += 1;
  return `${stem}-${made}`;
}

/**
 * Put off calls to the next frame; only the last one runs.
 * @param {(...args: any[]) => void} run
 */
export function framed(run) {
  let frame = 0;
  return (...args) => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => run(...args));
  };
}
