/**
 * All that a reading says of itself beyond its answer: estimates, other epsilons, sources, settings.
 */

import { h } from "./dom.js";
import { drawTable, drawTerms } from "./table.js";
import { whole } from "./words.js";

/** @param {import("./types").Reading} reading */
export function drawDetails({ words }) {
  const { settings, facts, notes, tables } = words;
  return h("details", { class: "made-with" }, h("summary", {}, "details"),
    drawTerms(facts),
    notes.map((note) => h("p", { class: "hint" }, note)),
    tables.bits.rows.length ? drawTable(tables.bits) : null,
    tables.curve.rows.length ? drawTable(tables.curve) : null,
    tables.sources.rows.length ? h("div", { class: "sources" }, tables.sources.rows.map(({ cells: [name, draws], bar }) =>
      h("div", {}, h("b", {}, name), h("span", { class: "well", title: `${whole(bar ?? 0)} inside ε` },
        h("i", { style: { width: `${100 * (bar ?? 0)}%` } })), h("span", {}, draws)))) : null,
    drawTerms(settings));
}
