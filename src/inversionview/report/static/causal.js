/**
 * Whether what an activation encodes is used: the answer, and what activations of other inputs did.
 */

import { fill, h } from "./dom.js";
import { barCell, drawTable, drawTerms, framedTable } from "./table.js";

/**
 * @param {HTMLElement} root
 * @param {import("./types").PackedCausal} packed a document of `pack_causal`
 * @param {{heading?: boolean}} [options] whether it says what was asked
 */
export function mountCausal(root, { words }, { heading = true } = {}) {
  const [answer] = words.sentences;
  const end = answer.search(/[:,.]/);
  const { groups, features } = words.tables;
  fill(root, h("div", { class: "live causal-view" },
    heading ? h("h2", {}, words.heading) : null,
    h("p", { class: "verdict" }, h("b", {}, answer.slice(0, end)), answer.slice(end)),
    drawTable(groups),
    features.rows.length ? framedTable(features.caption,
      ["feature", "encoded", "KL shared", "KL not shared", "difference, 95%", "saves", "verdict"], features.rows.map(featureRow)) : null,
    h("details", { class: "made-with" }, h("summary", {}, "What the numbers are"),
      drawTerms(words.settings), words.notes.map((note) => h("p", {}, note)))));
}

function featureRow({ cells, kind, bar }) {
  const [name, here, encoded, shared, differing, difference, interval, verdict] = cells;
  const verdictClass = kind.replaceAll(" ", "-");
  return h("tr", { class: verdictClass },
    h("th", { scope: "row" }, name, h("span", { class: "value" }, ` = ${here}`)),
    h("td", {}, encoded), h("td", {}, shared), h("td", {}, differing),
    h("td", {}, difference, h("small", {}, ` ${interval}`)), barCell(bar),
    h("td", {}, h("span", { class: `badge ${verdictClass}` }, verdict)));
}
