/**
 * A saved page that answers: puts the drawn reading in the place of the table that needs no script.
 */

import { mountReading } from "./reading.js";

/** Draw every document that the page holds. */
export function start() {
  for (const data of document.querySelectorAll('script[type="application/json"].reading-data')) {
    const fixed = data.previousElementSibling;
    const root = document.createElement("section");
    root.className = "drawn";
    root.id = fixed.id;
    mountReading(root, JSON.parse(data.textContent));
    fixed.replaceWith(root);
    data.remove();
  }
}
