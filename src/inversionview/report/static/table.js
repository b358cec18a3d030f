/**
 * Tables and lists that Python has made of a document: `Table` and `Words` in `report/words.py`.
 */

import { h } from "./dom.js";

/**
 * A table; rows with a share get a bar as their last cell.
 * @param {import("./types").Table} table
 */
export function drawTable({ caption, columns, rows }) {
  const bars = rows.some((row) => row.bar !== null);
  return framedTable(caption, bars ? [...columns, h("span", { class: "unseen" }, "as a bar")] : columns, rows.map(({ cells, kind, bar }) =>
    h("tr", { class: kind.replaceAll(" ", "-") },
      cells.map((cell, i) => (i ? h("td", {}, cell) : h("th", { scope: "row" }, cell))),
      bar === null ? null : barCell(bar))));
}

/** A table with its caption in a box that scrolls. */
export function framedTable(caption, columns, rows) {
  return h("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "plain" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)));
}

/** A share as a bar in a cell of a table. */
export function barCell(share) {
  return h("td", { class: "well-cell" }, h("span", { class: "well" }, h("i", { style: { width: `${100 * share}%` } })));
}

/** Names with what is said under each. */
export function drawTerms(terms) {
  return h("dl", { class: "said-list" }, terms.map(([name, words]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, words))));
}
