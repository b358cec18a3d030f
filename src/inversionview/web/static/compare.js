/**
 * Pinned readings side by side, with the differences in bits marked.
 */

import { featuresByBits } from "./report/bits.js";
import { fill, h } from "./report/dom.js";
import { shareKnown } from "./report/scale.js";
import { unpack } from "./report/wire.js";
import { fixed, many, short, signed } from "./report/words.js";
import { columnsOf, pathOf, readingQuestion } from "./api.js";
import { makeJob } from "./job.js";
import { unpinned } from "./state.js";

const EXAMPLES = 3;
const APART = 0.1; // bits from which a difference is marked, where no interval says better
const FEATURES = 14;

/**
 * @param {{store: import("./state.js").Store, studyOf: (name: string) => import("./report/types").Study, kept: Map<string, import("./report/types").Result>}} options
 */
export function makeCompare({ store, studyOf, kept }) {
  const job = makeJob({ label: "pinned reading" });
  const body = h("div", { class: "compare-body" });
  const element = h("div", { class: "compare-view card" }, job.element, body);
  /** @type {Map<string, any>} what two pins share */
  const overlaps = new Map();
  let waiting = [];

  function show(state) {
    waiting = state.pins.filter((pin) => !kept.has(pin) && studyOf(unpinned(pin).study));
    next();
    draw(state);
  }

  const questionOfPin = (query) => readingQuestion(query, columnsOf(studyOf(query.study), query));

  /** Ask for the readings that are not there yet, then for what each shares with the first. */
  function next() {
    if (job.running()) return;
    const [pin] = waiting;
    if (!pin) return nextOverlap();
    const query = unpinned(pin);
    const { kind, body: question } = questionOfPin(query);
    job.run(pathOf(query.study, kind), question, { done: (result) => {
      kept.set(pin, result);
      waiting = waiting.filter((one) => one !== pin);
      draw(store.get());
      next();
    } });
  }

  function nextOverlap() {
    const [first, ...others] = store.get().pins;
    const other = others.find((pin) => unpinned(pin).study === unpinned(first).study && studyOf(unpinned(pin).study) && !overlaps.has(pairOf(first, pin)));
    if (!other) return;
    const asked = { first: questionOfPin(unpinned(first)).body, second: questionOfPin(unpinned(other)).body };
    job.run(pathOf(unpinned(first).study, "overlap"), asked, { done: (result) => {
      overlaps.set(pairOf(first, other), result.document);
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
      return { pin, query: unpinned(pin), reading: result ? unpack(result.document) : null };
    });
    fill(body, h("h2", {}, "Pinned readings"),
      h("p", { class: "hint" }, columns.length > 1
        ? "Differences are to the first one; marked where the intervals do not overlap, or by 0.1 bits where they are exact."
        : "Pin a second reading to see the differences."),
      h("div", { class: "compare-scroll", tabindex: "0", role: "region", "aria-label": "Pinned readings side by side" },
        bitsTable(columns)), shared(columns));
  }

  function bitsTable(columns) {
    const featuresOf = columns.map(({ reading }) => new Map(reading ? featuresByBits(reading).map((one, i) => [one.name, { ...one, interval: intervalOf(reading, one.name) }]) : []));
    const names = orderOf(featuresOf);
    return h("table", { class: "compare-table" },
      h("caption", { class: "unseen" }, "Bits about features, a column for each pinned reading"),
      h("thead", {}, h("tr", {}, h("td"), columns.map(heading))),
      h("tbody", {}, row("says", columns, ({ reading }) => h("p", { class: "compare-said" }, reading?.words.answer.sentence)),
        row("in words", columns, ({ reading }) => h("p", { class: "compare-said" }, reading?.words.answer.in_words)),
        names.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
        featuresOf.map((features, i) => h("td", {}, bitsCell(features.get(name), i ? featuresOf[0].get(name) : null))))),
        row("members", columns, ({ reading }) => reading && [h("p", { class: "hint" }, reading.words.answer.members),
          patternsOf(reading.words.answer.patterns, []), h("p", { class: "hint" }, reading.words.answer.no_pattern)]),
        row("near misses", columns, ({ reading }) => reading && reading.words.answer.misses.map((miss) =>
          h("p", { class: "compare-miss" }, miss.distance_words, " ", h("code", {}, miss.input), " ", h("span", { class: "hint" }, miss.differs))))));
  }

  function row(name, columns, draw) {
    return h("tr", { class: "compare-words" }, h("th", { scope: "row" }, name), columns.map((column) => h("td", {}, draw(column))));
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

  /** What the first reading and another one share, and what each has alone. */
  function shared([first, ...others]) {
    return others.filter(({ query }) => query.study === first.query.study).map((other) => {
      const found = overlaps.get(pairOf(first.pin, other.pin));
      const names = { both: "In both", first: ["Only in ", place(first.query)], second: ["Only in ", place(other.query)] };
      return h("section", { class: "overlap" },
        h("h3", {}, place(first.query), " and ", place(other.query)),
        found ? h("div", { class: "overlap-parts" }, found.parts.map((part) => h("div", { class: "overlap-part" },
          h("h4", {}, names[part.name]), h("p", { class: "hint" }, part.words), patternsOf(part.patterns, part.examples)))) : h("p", { class: "hint" }, "Members of each are run at the other place…"));
    });
  }

  return { element, show };
}

function pairOf(first, second) {
  return `${first} ${second}`;
}

function place(query) {
  return [h("code", {}, query.site), " at ", h("code", {}, query.at || "the last position")];
}

/** Groups of members with their shares and examples; where there is no pattern, the examples alone. */
function patternsOf(patterns, examples) {
  const inputs = (texts) => texts.slice(0, EXAMPLES).map((text) => h("code", { class: "compare-input" }, text));
  if (!patterns.length) return h("div", { class: "compare-pattern" }, inputs(examples));
  return patterns.map(({ share_words, words, examples: of }) => h("div", { class: "compare-pattern" },
    h("p", {}, h("b", {}, words), h("span", { class: "hint" }, ` ${share_words}`)), inputs(of)));
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
