/**
 * Tested hypotheses: for what share of the members each holds, beside what it would be elsewhere.
 */

import { fill, h } from "./dom.js";
import { whole } from "./words.js";

/**
 * @param {HTMLElement} root
 * @param {{tests: import("./types").HypothesisTest[]}} document what `inversionview test --json` prints
 */
export function mountTests(root, document) {
  fill(root, h("div", { class: "live tests-view" }, document.tests.map(drawTest)));
}

function drawTest(test) {
  const title = h("p", { class: "place" }, h("code", {}, test.name), " · ",
    h("code", {}, test.site), " at ", h("code", {}, test.at));
  if (test.consistency === null) {
    return h("section", {}, title, h("p", { class: "verdict" }, test.says));
  }
  const controls = Object.entries(test.controls).map(([name, control]) =>
    bar(name, control.consistency, null, control.consistency === null ? "no members" : "", false));
  return h("section", {}, title,
    h("p", { class: "verdict" }, h("span", { class: `badge ${test.verdict.replaceAll(" ", "-")}` }, test.verdict), " ", test.says),
    h("div", { class: "consistency", role: "table", "aria-label": "Share of inputs for which it holds" },
      bar("members here", test.consistency, test.interval, "", true),
      bar("all inputs", test.base_rate, null, "", false), controls));
}

function bar(name, share, interval, words, own) {
  const well = h("span", { class: "well", role: "cell" },
    share === null ? null : h("i", { style: { width: `${100 * share}%` } }),
    interval ? h("s", { style: { left: `${100 * interval[0]}%`, width: `${100 * (interval[1] - interval[0])}%` } }) : null);
  return h("div", { class: `bits-row${own ? " own" : ""}`, role: "row" }, h("span", { class: "name", role: "rowheader" }, name), well,
    h("span", { class: "said", role: "cell" }, share === null ? words : whole(share)));
}
