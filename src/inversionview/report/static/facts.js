/**
 * What is said of a whole preimage: how large it is, what of it was found, by which settings, from which sources.
 */

import { h } from "./dom.js";
import { drawTable, drawTerms } from "./table.js";
import { count, percent, whole } from "./words.js";

/**
 * How many candidates were left after each step, as bars that shorten.
 * @param {import("./types").Reading} reading
 * @param {number} inside at the epsilon that is shown
 */
export function drawCounts(reading, inside) {
  const { counts } = reading;
  if (reading.exact) {
    const of = counts.in_domain ? inside / counts.in_domain : 0;
    return h("dl", { class: "funnel" },
      step("run, all", counts.in_domain, 1), step("inside ε", inside, of, inside ? percent(of) : ""));
  }
  const of = (n) => (counts.drawn ? n / counts.drawn : 0);
  return h("dl", { class: "funnel" },
    step("drawn", counts.drawn, 1), step("distinct", counts.distinct, of(counts.distinct)),
    step("in domain", counts.in_domain, of(counts.in_domain)), step("inside ε", inside, of(inside)));
}

function step(name, n, share, note = "") {
  return h("div", {}, h("dt", {}, name),
    h("dd", {}, h("b", {}, count(n)), note ? h("small", {}, ` ${note}`) : null,
      h("span", { class: "well" }, h("i", { style: { width: `${100 * share}%` } }))));
}

/**
 * Size and completeness, as sentences under labels.
 * @param {import("./types").Reading} reading
 */
export function drawFacts(reading) {
  const facts = reading.words.facts;
  if (!facts.length) return null;
  return h("section", { class: "facts-box" },
    h("h3", {}, "How large it is, and how much was found"),
    drawTerms(facts), reading.words.notes.map((note) => h("p", { class: "hint" }, note)));
}

/** Settings, sources, and what other epsilons would give: for those who ask. */
export function drawMadeWith(reading) {
  const { settings, sentences, tables } = reading.words;
  return h("details", { class: "made-with" }, h("summary", {}, "How this reading was made"),
    sentences.map((sentence) => h("p", {}, sentence)), drawTerms(settings),
    tables.sources.rows.length ? h("div", { class: "sources" }, tables.sources.rows.map(({ cells: [name, draws], bar }) =>
      h("div", {}, h("b", {}, name), h("span", { class: "well", title: `${whole(bar)} inside ε` },
        h("i", { style: { width: `${100 * bar}%` } })), h("span", {}, draws)))) : null,
    tables.curve.rows.length ? drawTable(tables.curve) : null);
}
