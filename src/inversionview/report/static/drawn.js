/**
 * Whatever kind a packed document is of, drawn: in a saved page, in the place of the tables that need no script, and
 * in a notebook, as the front end of `report/widget.py` by the protocol of anywidget.
 */

import { mountCausal } from "./causal.js";
import { mountMap } from "./map.js";
import { mountPatching } from "./patching.js";
import { mountReading } from "./reading.js";

/** @type {Record<import("./types").Packed["kind"], (root: HTMLElement, packed: any) => any>} */
const MOUNTS = { reading: mountReading, map: mountMap, causal: mountCausal, patching: mountPatching };

/** Draw every document that the page holds. */
export function start() {
  for (const data of document.querySelectorAll('script[type="application/json"].document')) {
    const plain = /** @type {HTMLElement} */ (data.previousElementSibling);
    /** @type {import("./types").Packed} */
    const packed = JSON.parse(data.textContent);
    const root = document.createElement("section");
    root.className = "drawn";
    root.id = plain.id;
    MOUNTS[packed.kind](root, packed);
    plain.replaceWith(root);
    data.remove();
  }
}

/**
 * @param {{model: {get: (name: string) => any}, el: HTMLElement}} cell
 */
export function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "inversionview widget";
  el.replaceChildren(root);
  const packed = model.get("document");
  const view = MOUNTS[packed.kind](root, packed);
  return () => view?.stop?.();
}
