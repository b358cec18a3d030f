/**
 * What is said of a whole preimage: how large it is, what of it was found, by which settings, from which sources.
 */

import { h } from "./dom.js";
import { count, fixed, percent, printable, short, whole } from "./words.js";

/**
 * How many candidates were left after each step, as bars that shorten.
 * @param {any} reading
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
 * @param {any} reading
 */
export function drawFacts(reading) {
  const facts = reading.words.facts;
  if (!facts.length) return null;
  return h("section", { class: "facts-box" },
    h("h3", {}, "How large it is, and how much was found"),
    h("dl", { class: "said-list" }, facts.map(([label, words]) =>
      h("div", {}, h("dt", {}, label), h("dd", {}, printable(words))))));
}

/** Settings, sources, and what other epsilons would give: for those who ask. */
export function drawMadeWith(reading) {
  const { settings, sources } = reading.words;
  return h("details", { class: "made-with" }, h("summary", {}, "How this reading was made"),
    h("dl", { class: "said-list" }, settings.map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, printable(value))))),
    sources.length ? h("div", { class: "sources" }, sources.map(([name, words, rate]) =>
      h("div", {}, h("b", {}, printable(name)), h("span", { class: "well", title: `${whole(rate)} inside ε` },
        h("i", { style: { width: `${100 * rate}%` } })), h("span", {}, words)))) : null,
    reading.curve?.length ? drawCurve(reading) : null);
}

function drawCurve(reading) {
  const rows = [...reading.curve].sort((a, b) => a.epsilon - b.epsilon);
  return h("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Other epsilons" }, h("table", { class: "plain" }, h("caption", {}, "Other ε"),
    h("thead", {}, h("tr", {}, ["ε", "members", "bits about the input"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((point) => h("tr", { class: point.epsilon === reading.epsilon ? "ours" : "" },
      h("th", { scope: "row" }, short(point.epsilon)), h("td", {}, count(point.inside)),
      h("td", {}, point.log2_domain_over_preimage === null ? "–" : fixed(point.log2_domain_over_preimage)))))));
}
