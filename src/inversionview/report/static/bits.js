/**
 * Bits about features: what an activation knows, as a sentence and as bars.
 */

import { fill, h } from "./dom.js";
import { shareKnown } from "./scale.js";
import { whole } from "./words.js";

const TOP = 6;
const NAMED = 6;

/**
 * @typedef {{name: string, share: number, bits: number, of: number, words: string[], kind: string, value: string}} Feature
 * `kind`: known, partly, little, or nothing
 */

/**
 * The features of a reading with their bits, most bits first.
 * @param {import("./types").Reading | import("./types").PackedReading} reading
 * @returns {Feature[]}
 */
export function featuresByBits(reading) {
  /** @type {Map<string, string>} */
  const values = new Map();
  for (const feature of reading.features) values.set(feature.name, feature.query ?? "");
  const rows = reading.words.tables.bits.rows;
  return [...(reading.bits ?? [])].sort((a, b) => b.bits - a.bits).map(({ name, bits, of }, i) => ({
    name, bits, of, share: shareKnown(bits, of), words: rows[i].cells.slice(1), kind: rows[i].kind, value: values.get(name) ?? "",
  }));
}

/**
 * What the activation knows, in one sentence, by the thresholds of the map.
 * @param {import("./types").Reading} reading
 * @param {Record<string, string>} abouts
 */
export function drawKnows(reading, abouts) {
  const features = featuresByBits(reading);
  if (!features.length) return null;
  const told = features.filter((feature) => feature.kind);
  const fully = told.filter((feature) => feature.kind === "known");
  const partly = told.filter((feature) => feature.kind === "partly");
  const parts = [];
  if (fully.length) parts.push("This activation knows ", names(fully, abouts));
  if (partly.length) parts.push(fully.length ? ", and partly " : "This activation knows partly ", names(partly, abouts));
  if (!parts.length) {
    return h("p", { class: "knows" }, "This activation knows no named feature to half of its entropy",
      told.length ? ["; most of all ", names(told.slice(0, 2), abouts)] : "", ".");
  }
  const rest = features.length - fully.length - partly.length;
  parts.push(rest ? `. Of ${rest} other ${rest === 1 ? "feature" : "features"} it says little or nothing.` : ".");
  return h("p", { class: "knows" }, parts);
}

function names(list, abouts) {
  const shown = list.slice(0, NAMED).map((one, i) => [
    i ? ", " : "",
    h("b", { title: abouts[one.name] || null }, one.name, one.value ? ` = ${one.value}` : ""),
  ]);
  return [shown, list.length > NAMED ? ` and ${list.length - NAMED} more` : ""];
}

/**
 * A bar for each feature: the share of its entropy that the activation gives.
 * @param {import("./types").Reading} reading
 * @param {Record<string, string>} abouts
 */
export function drawBits(reading, abouts) {
  const rows = featuresByBits(reading);
  if (!rows.length) return null;
  const list = h("div", { class: "bits", role: "table", "aria-label": "Bits about features" });
  const more = h("button", { type: "button", class: "small", "aria-expanded": "false" }, `all ${rows.length} features`);
  let all = false;
  const draw = () => {
    fill(list, (all ? rows : rows.slice(0, TOP)).map((one) => bitsRow(one, abouts)));
    more.textContent = all ? "fewer" : `all ${rows.length} features`;
    more.setAttribute("aria-expanded", `${all}`);
  };
  more.addEventListener("click", () => {
    all = !all;
    draw();
  });
  draw();
  return h("section", { class: "bits-box" },
    h("h3", {}, "What it knows, in bits"),
    h("p", { class: "hint" }, "H(feature) − H(feature | preimage), beside all there is to know",
      reading.exact ? "." : "; in brackets 95% intervals."),
    list, rows.length > TOP ? more : null);
}

function bitsRow(one, abouts) {
  const [bits, of, interval, sign] = one.words;
  return h("div", { class: "bits-row", role: "row" },
    h("span", { class: "name", role: "rowheader", title: abouts[one.name] || null },
      h("b", {}, one.name), one.value ? h("span", { class: "value" }, ` = ${one.value}`) : null),
    h("span", { class: "well", role: "cell", "aria-label": `${whole(one.share)} known` },
      h("i", { style: { width: `${100 * one.share}%` } })),
    h("span", { class: "said", role: "cell" }, h("span", { "aria-hidden": "true", class: "mark" }, sign), " ",
      h("b", {}, bits), ` ${of}`, interval ? h("small", {}, ` ${interval}`) : null));
}
