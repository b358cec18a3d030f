/**
 * Whether what an activation encodes is used: the answer, and what activations of other inputs did.
 */

import { fill, h } from "./dom.js";
import { printable } from "./words.js";

/**
 * @param {HTMLElement} root
 * @param {any} document a document of `pack_causal`
 */
export function mountCausal(root, document) {
  const { words } = document;
  const end = words.answer.search(/[:,.]/);
  const [verdict, rest] = [words.answer.slice(0, end), words.answer.slice(end)];
  const features = words.features.map((row) => {
    const [name, here, encoded, shared, differing, difference, interval] = row.cells;
    return h("tr", { class: row.verdict.replaceAll(" ", "-") },
      h("th", { scope: "row" }, name, h("span", { class: "value" }, ` = ${here}`)),
      h("td", {}, encoded), h("td", {}, shared), h("td", {}, differing),
      h("td", {}, difference, h("small", {}, ` ${interval}`)),
      h("td", { class: "well-cell" }, h("span", { class: "well" }, h("i", { style: { width: `${100 * row.saved}%` } }))),
      h("td", {}, h("span", { class: `badge ${row.verdict.replaceAll(" ", "-")}` }, row.verdict)));
  });
  fill(root, h("div", { class: "live causal-view" },
    h("p", { class: "verdict" }, h("b", {}, printable(verdict)), printable(rest)),
    table("What activations of other inputs do to the output", words.group_columns,
      words.groups.map((row) => h("tr", {}, row.map((cell, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, cell))))),
    features.length ? table("Features: encoded, and used",
      ["feature", "encoded", "KL shared", "KL not shared", "difference, 95%", "saves", "verdict"], features) : null,
    h("details", { class: "made-with" }, h("summary", {}, "What the numbers are"),
      [...words.abstained, ...words.notes].map((note) => h("p", {}, note)))));
}

function table(caption, columns, rows) {
  return h("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "plain" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)));
}
