/**
 * Pinned readings side by side, with the differences in bits marked.
 */

import { featuresByBits } from "./report/bits.js";
import { cut } from "./report/cut.js";
import { fill, h } from "./report/dom.js";
import { shareKnown } from "./report/scale.js";
import { layoutOf, tintOf, tokenCells } from "./report/tokens.js";
import { unpack } from "./report/wire.js";
import { distanceText, fixed, many, short, signed } from "./report/words.js";
import { columnsOf, pathOf, readingQuestion } from "./api.js";
import { makeJob } from "./job.js";
import { unpinned } from "./state.js";

const LISTED = 12;
const APART = 0.1; // bits from which a difference is marked, where no interval says better
const FEATURES = 14;

/**
 * @param {{store: import("./state.js").Store, studyOf: (name: string) => import("./report/types").Study, kept: Map<string, import("./report/types").Result>}} options
 */
export function makeCompare({ store, studyOf, kept }) {
  const job = makeJob({ label: "pinned reading" });
  const body = h("div", { class: "compare-body" });
  const element = h("div", { class: "compare-view card" }, job.element, body);
  let waiting = [];

  function show(state) {
    waiting = state.pins.filter((pin) => !kept.has(pin) && studyOf(unpinned(pin).study));
    next();
    draw(state);
  }

  function next() {
    const [pin] = waiting;
    if (!pin || job.running()) return;
    const query = unpinned(pin);
    const { kind, body: question } = readingQuestion(query, columnsOf(studyOf(query.study), query));
    job.run(pathOf(query.study, kind), question, { done: (result) => {
      kept.set(pin, result);
      waiting = waiting.filter((one) => one !== pin);
      draw(store.get());
      next();
    } });
  }

  function draw(state) {
    if (!state.pins.length) {
      fill(body, h("div", { class: "empty" }, h("h2", {}, "Nothing is pinned yet"),
        h("p", {}, "Read an activation and press “Pin to compare”; then read another one — another site, position, input or model — and pin it too.")));
      return;
    }
    const columns = state.pins.map((pin) => {
      const result = kept.get(pin);
      return { pin, reading: result ? unpack(result.document) : null };
    });
    fill(body, h("h2", {}, "Pinned readings"),
      h("p", { class: "hint" }, columns.length > 1
        ? "Differences are to the first one; marked where the intervals do not overlap, or by 0.1 bits where they are exact."
        : "Pin a second reading to see the differences."),
      h("div", { class: "compare-scroll", tabindex: "0", role: "region", "aria-label": "Pinned readings side by side" },
        bitsTable(columns), h("div", { class: "compare-members", style: { "--pins": columns.length } }, columns.map(members))));
  }

  function bitsTable(columns) {
    const featuresOf = columns.map(({ reading }) => new Map(reading ? featuresByBits(reading).map((one, i) => [one.name, { ...one, interval: intervalOf(reading, one.name) }]) : []));
    const names = orderOf(featuresOf);
    return h("table", { class: "compare-table" },
      h("caption", { class: "unseen" }, "Bits about features, a column for each pinned reading"),
      h("thead", {}, h("tr", {}, h("td"), columns.map(heading))),
      h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
        featuresOf.map((features, i) => h("td", {}, bitsCell(features.get(name), i ? featuresOf[0].get(name) : null)))))));
  }

  function heading({ pin, reading }) {
    const query = unpinned(pin);
    const members = reading ? `${many(reading.counts.inside, "input")} inside ε = ${short(reading.epsilon)}` : "asking…";
    return h("th", { scope: "col" },
      h("span", { class: "pin-place" }, h("code", {}, query.site), " at ", h("code", {}, reading?.query.at ?? query.at)),
      h("span", { class: "pin-input" }, query.study, " · ", h("code", {}, query.input)),
      h("span", { class: "hint" }, members),
      h("span", { class: "pin-tools" },
        h("button", { type: "button", class: "small", on: { click: () => store.set({ ...query, pins: store.get().pins, view: "read" }) } }, "read"),
        h("button", { type: "button", class: "small", "aria-label": `Unpin ${query.site} at ${query.at}`,
          on: { click: () => store.set({ pins: store.get().pins.filter((one) => one !== pin) }) } }, "unpin")));
  }

  function members({ reading }) {
    if (!reading) return h("div", { class: "compare-list" });
    const layout = layoutOf(reading);
    const groups = cut(reading, reading.epsilon);
    const rows = [reading.query, ...groups.members.slice(0, LISTED).map((i) => reading.samples[i])];
    return h("div", { class: `compare-list table ${layout.grid ? "grid" : "context"}`, style: { "--cols": `var(--distance) ${layout.template}` } },
      rows.map((sample, i) => h("div", { class: `row ${i ? "sample" : "query"}` },
        h("span", { class: "number" }, i ? distanceText(sample.distance, reading.epsilon) : "query"),
        tokenCells(layout, sample, i ? tintOf(sample, "change") : () => "", null))));
  }

  return { element, show };
}

function intervalOf(reading, name) {
  return reading.bits.find((feature) => feature.name === name)?.interval ?? null;
}

/** Features that some reading knows something of, those that differ most first. */
function orderOf(featuresOf) {
  const names = [...new Set(featuresOf.flatMap((map) => [...map.keys()]))];
  const shares = (name) => featuresOf.map((map) => map.get(name)).filter(Boolean).map((one) => shareKnown(one.bits, one.of));
  const spread = (name) => Math.max(...shares(name)) - Math.min(...shares(name));
  const most = (name) => Math.max(...featuresOf.map((map) => map.get(name)?.bits ?? -Infinity));
  return names.filter((name) => most(name) > 0.05).sort((a, b) => spread(b) - spread(a) || most(b) - most(a)).slice(0, FEATURES);
}

/** Whether two estimates of bits differ by more than their intervals allow. */
export function differ(a, b) {
  if (a.interval && b.interval) return a.interval[0] > b.interval[1] || b.interval[0] > a.interval[1];
  return Math.abs(a.bits - b.bits) >= APART;
}

function bitsCell(one, first) {
  if (!one) return h("span", { class: "hint" }, "–");
  const marked = first && differ(one, first);
  const change = first ? one.bits - first.bits : 0;
  return h("span", { class: `compare-cell${marked ? (change > 0 ? " more" : " less") : ""}` },
    h("span", { class: "well" }, h("i", { style: { width: `${100 * one.share}%` } })),
    h("span", {}, h("b", {}, fixed(one.bits)), h("small", {}, ` of ${fixed(one.of)}`)),
    first ? h("span", { class: "change" }, marked ? `${change > 0 ? "▲" : "▼"} ${signed(change)}` : "same") : null);
}
