/**
 * Whatever kind a packed document is of, drawn: in a saved page, in the place of the tables that need no script, and
 * in a notebook, as the front end of `report/widget.py` by the protocol of anywidget.
 */

import { mountCausal } from "./causal.js";
import { mountTests } from "./hypothesis.js";
import { mountMap } from "./map.js";
import { mountPatching } from "./patching.js";
import { mountReading } from "./reading.js";

/** @type {Record<Exclude<import("./types").Packed["kind"], "explanations">, (root: HTMLElement, packed: any) => any>} */
const MOUNTS = { reading: mountReading, map: mountMap, causal: mountCausal, patching: mountPatching, tests: mountTests };

/** Draw every document that the page holds. */
export async function start() {
  for (const data of document.querySelectorAll("script.document")) {
    const plain = /** @type {HTMLElement} */ (data.previousElementSibling);
    const packed = await inflated(data.textContent);
    data.remove();
    if (packed.kind === "explanations") continue; // a plain table says all
    const root = document.createElement("section");
    root.className = "inversionview scripted drawn";
    root.id = plain.id;
    MOUNTS[packed.kind](root, packed);
    plain.replaceWith(root);
  }
}

/**
 * A document from what `deflated` in `report/page.py` made of it.
 * @param {string} text
 * @returns {Promise<import("./types").Packed>}
 */
function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

/**
 * @param {{model: {get: (name: string) => any}, el: HTMLElement}} cell
 */
export function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "inversionview scripted widget";
  el.replaceChildren(root);
  const packed = model.get("document");
  const view = MOUNTS[packed.kind](root, packed);
  return () => view?.stop?.();
}
