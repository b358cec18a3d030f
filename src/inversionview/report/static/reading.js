/**
 * One reading, drawn so that it answers: the slider, the columns and the colours ask nobody.
 */

import { drawBits, drawKnows } from "./bits.js";
import { cut, headlineOf, inside } from "./cut.js";
import { fill, framed, h, unique } from "./dom.js";
import { makeEpsilon } from "./epsilon.js";
import { drawCounts, drawFacts, drawMadeWith } from "./facts.js";
import { makeMembers } from "./members.js";
import { unpack } from "./wire.js";
import { short } from "./words.js";

const LONGEST = 120; // characters of an input above its reading

/**
 * @typedef {object} Options
 * @property {Record<string, string>} [abouts] what each feature is
 * @property {string[] | null} [columns] features shown at first; null for all
 * @property {string[] | null} [roles] of the query's tokens
 * @property {number | null} [epsilon] where the slider stands at first
 * @property {((epsilon: number) => void) | null} [onEpsilon] asks again at another epsilon
 * @property {((shown: {epsilon: number, columns: string[]}) => void)} [onShown] the reader changed what is shown
 * @property {HTMLElement[]} [tools] beside the heading
 * @property {boolean} [partial] more is to come
 */

/**
 * @param {HTMLElement} root
 * @param {import("./types").PackedReading} packed a document of `pack_reading`
 * @param {Options} [options]
 */
export function mountReading(root, packed, options = {}) {
  const reading = unpack(packed);
  const all = (reading.features ?? []).map((feature) => feature.name);
  const colored = reading.samples.some((sample) => sample.colors);
  const measured = reading.samples.some((sample) => sample.token_distances);
  const shown = {
    epsilon: usable(reading, options.epsilon ?? reading.epsilon),
    columns: (options.columns ?? all).filter((name) => all.includes(name)),
    tint: /** @type {import("./tokens.js").Tint} */ (colored ? "change" : measured ? "distance" : "none"),
    at: /** @type {number | null} */ (null),
    sort: "",
  };
  const members = makeMembers(reading, {
    roles: options.roles ?? null,
    onSort: (name) => update({ sort: shown.sort === name ? "" : name }),
  });
  const slider = makeEpsilon(reading, { onMove: (epsilon) => update({ epsilon }), onAsk: options.onEpsilon ?? null });
  slider.set(shown.epsilon);
  const headline = h("h2", {});
  const stale = h("p", { class: "stale", role: "status" });
  const counts = h("div", { class: "counts" });
  const abouts = options.abouts ?? {};
  const [knows, bits, facts] = [drawKnows(reading, abouts), drawBits(reading, abouts), drawFacts(reading)];
  const element = h("article", { class: `live reading-view${options.partial ? " partial" : ""}` },
    h("header", { class: "reading-head" }, h("div", {}, place(reading), headline), h("div", { class: "tools" }, options.tools ?? [])),
    stale, knows, h("div", { class: "pair" }, bits, h("div", { class: "side" }, counts, slider.element)),
    controls(reading, shown, { all, colored, measured, roles: options.roles ?? null, update }),
    members.element, facts, drawMadeWith(reading));
  fill(root, element);

  const later = framed(draw);
  function update(change) {
    Object.assign(shown, change);
    if ("at" in change) slider.at(change.at);
    later();
    options.onShown?.({ epsilon: shown.epsilon, columns: shown.columns });
  }

  function draw() {
    const column = (reading.features ?? []).find((feature) => feature.name === shown.sort);
    const groups = cut(reading, shown.epsilon, shown.at, column ? (i) => column.values[i] : null);
    const n = inside(reading, groups, shown.epsilon, shown.at);
    const own = shown.epsilon === reading.epsilon && shown.at === null;
    fill(headline, code(reading.site), " at ", code(reading.query.at), " · ",
      headlineOf(reading, shown, n));
    fill(stale, own ? null : staleWords(reading, shown));
    for (const one of [knows, bits, facts]) one?.classList.toggle("other", !own);
    fill(counts, drawCounts(reading, n));
    members.show({ ...shown, groups, inside: n });
  }

  /** Put the slider somewhere, as the address says it. @param {number} epsilon */
  function cutAt(epsilon) {
    if (epsilon === shown.epsilon) return;
    shown.epsilon = usable(reading, epsilon);
    slider.set(shown.epsilon);
    later();
  }

  draw();
  return { element, reading, shown, cutAt, stop: members.stop };
}

function usable(reading, epsilon) {
  return reading.exact ? Math.min(epsilon, reading.epsilon) : epsilon;
}

function staleWords(reading, shown) {
  const where = shown.at === null ? "" : ", and members by the distance at the position chosen below";
  return shown.epsilon === reading.epsilon
    ? "Shown are distances at one fixed position. Bits and size are those of the reading itself."
    : `Cut again at ε = ${short(shown.epsilon)}${where}. Bits and size are still those at ε = ${short(reading.epsilon)}.`;
}

function place(reading) {
  const { input } = reading.words;
  return h("p", { class: "place" }, reading.study, " · ", h("span", { class: "input" }, input.slice(0, LONGEST)),
    input.length > LONGEST ? "…" : "", reading.query.tokens.length ? ` · position ${reading.query.position}` : "a vector of your own");
}

function code(text) {
  return h("code", {}, text);
}

function controls(reading, shown, { all, colored, measured, roles, update }) {
  const id = unique("choice");
  const tint = h("select", { id: `${id}-tint`, on: { change: () => update({ tint: tint.value }) } },
    colored ? h("option", { value: "change" }, "what it changed") : null,
    measured ? h("option", { value: "distance" }, "distance at each token") : null,
    h("option", { value: "none" }, "nothing"));
  tint.value = shown.tint;
  const at = h("select", { id: `${id}-at`, on: { change: () => update({ at: at.value === "" ? null : Number(at.value) }) } },
    h("option", { value: "" }, reading.position_rule === "same" ? "the position read" : "each input’s best position"),
    reading.query.tokens.map((text, i) => h("option", { value: i }, `${i}: ${roles?.[i] ?? text}`)));
  return h("div", { class: "controls" },
    colored || measured ? h("label", { for: `${id}-tint` }, "colour by ", tint) : null,
    measured && reading.query.tokens.length <= 64 ? h("label", { for: `${id}-at` }, "distance at ", at) : null,
    all.length ? columnsMenu(all, shown, update) : null,
    legend(colored, reading));
}

function columnsMenu(all, shown, update) {
  const boxes = all.map((name) => {
    const box = h("input", { type: "checkbox", on: { change: () => {
      const chosen = new Set(shown.columns);
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      update({ columns: all.filter((one) => chosen.has(one)) });
    } } });
    box.checked = shown.columns.includes(name);
    return h("label", {}, box, name);
  });
  return h("details", { class: "menu" }, h("summary", {}, "columns"), h("div", { class: "menu-body" }, boxes));
}

function legend(colored, reading) {
  if (!colored) return null;
  const steps = Array.from({ length: 17 }, (_, i) => i - 8);
  return h("details", { class: "menu scale-menu" },
    h("summary", {}, "lowered ", h("span", { class: "ramp", "aria-hidden": "true" },
      steps.map((step) => h("i", { class: step ? `${step > 0 ? "p" : "m"}${Math.abs(step)}` : "" }))), " raised"),
    h("div", { class: "menu-body text" }, h("p", {}, reading.colors_about),
      h("p", {}, "A frame marks the position that counts.")));
}
