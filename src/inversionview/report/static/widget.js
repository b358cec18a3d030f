/**
 * A document in a notebook: the front end of `report/widget.py`, by the protocol of anywidget.
 */

import { mountMap } from "./map.js";
import { mountReading } from "./reading.js";

/**
 * @param {{model: {get: (name: string) => any}, el: HTMLElement}} cell
 */
export function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "inversionview widget";
  el.replaceChildren(root);
  const shown = model.get("document");
  const view = model.get("kind") === "map" ? mountMap(root, shown) : mountReading(root, shown);
  return () => view?.stop?.();
}
