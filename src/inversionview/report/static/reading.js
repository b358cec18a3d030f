/**
 * One reading, drawn so that it answers: what is said of it first, then its rows, which ask nobody when they are cut again.
 */

import { drawAnswer, drawEnd } from "./answer.js";
import { bestKnown } from "./bits.js";
import { makeControls } from "./controls.js";
import { cut, inside } from "./cut.js";
import { drawDetails } from "./details.js";
import { fill, framed, h } from "./dom.js";
import { makeEpsilon } from "./epsilon.js";
import { makeMembers } from "./members.js";
import { layoutOf } from "./tokens.js";
import { unpack } from "./wire.js";
import { many, printed, short } from "./words.js";

const LONGEST = 140; // characters of what was read, above its reading
const BESIDE_TEXT = 3; // columns of features that text leaves room for

/**
 * @typedef {object} Options
 * @property {string[] | null} [columns] features shown at first
 * @property {string[]} [ownColumns] without these: those that the task shows; left out, all that there are
 * @property {string[] | null} [roles] of the query's tokens
 * @property {number | null} [epsilon] where the slider stands at first
 * @property {((epsilon: number) => void) | null} [onEpsilon] asks again at another epsilon
 * @property {((shown: {epsilon: number, columns: string[] | null}) => void)} [onShown] the reader changed what is shown
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
  const colored = reading.samples.some((sample) => sample.colors);
  const measured = reading.samples.some((sample) => sample.token_distances);
  const first = firstColumns(reading, options.ownColumns ?? null);
  const shown = {
    epsilon: usable(reading, options.epsilon ?? reading.epsilon),
    columns: (options.columns ?? first).filter((name) => reading.features.some((feature) => feature.name === name)),
    keys: bestKnown(reading),
    tint: /** @type {import("./tokens.js").Tint} */ (colored ? "change" : measured ? "distance" : "none"),
    at: /** @type {number | null} */ (null),
    sort: "",
    order: /** @type {import("./cut.js").Order} */ (reading.counts.inside ? "typical" : "misses"),
    pattern: /** @type {number | null} */ (null),
  };
  const members = makeMembers(reading, {
    roles: options.roles ?? null,
    onSort: (name) => update({ sort: shown.sort === name ? "" : name }),
    onOrder: (order) => update({ order, sort: "" }),
  });
  const slider = makeEpsilon(reading, { onMove: (epsilon) => update({ epsilon }), onAsk: options.onEpsilon ?? null });
  slider.set(shown.epsilon);
  const controls = makeControls(reading, shown, { colored, measured, roles: options.roles ?? null, update });
  const stale = h("p", { class: "stale", role: "status" });
  const said = h("p", { class: "rows-said", role: "status" });
  const answer = drawAnswer(reading, (pattern) => update({ pattern, ...(shown.order === "misses" ? { order: "typical" } : {}) }), options.partial);
  const end = drawEnd(reading);
  const { answer: words } = reading.words;
  const element = h("article", { class: `live reading-view${options.partial ? " partial" : ""}` },
    h("header", { class: "reading-head" },
      h("div", {}, h("h2", {}, printed(words.head, LONGEST)), h("p", { class: "place" }, words.about)),
      h("div", { class: "tools" }, options.tools ?? [])),
    h("p", { class: "sentence" }, words.sentence), answer,
    h("section", { class: "rows-box", "aria-label": "Rows" }, controls.element,
      h("div", { class: "rows-line" }, said, controls.legend), members.element, slider.element, stale),
    end, drawDetails(reading));
  fill(root, element);

  const later = framed(draw);
  function update(change) {
    Object.assign(shown, change);
    if ("at" in change) slider.at(change.at);
    later();
    options.onShown?.({ epsilon: shown.epsilon, columns: `${shown.columns}` === `${first}` ? null : shown.columns });
  }

  function draw() {
    const column = reading.features.find((feature) => feature.name === shown.sort);
    const groups = cut(reading, shown.epsilon, shown.at, column ? (i) => column.values[i] : null);
    const n = inside(reading, groups, shown.epsilon, shown.at);
    const own = shown.epsilon === reading.epsilon && shown.at === null;
    controls.show();
    fill(stale, own ? null : staleWords(reading, shown));
    for (const one of [answer, end]) one.classList.toggle("other", !own);
    answer.dataset.of = `of ε = ${short(reading.epsilon)}`;
    fill(said, rowsWords(reading, shown, groups, n));
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

/** Those of the task, or all that were asked for; beside text those that are known best, because names are the finding. */
function firstColumns(reading, own) {
  const all = reading.features.map((feature) => feature.name);
  if (layoutOf(reading).grid) return own ?? all;
  return [...new Set([...bestKnown(reading), ...(own ?? all)])].filter((name) => all.includes(name)).slice(0, BESIDE_TEXT);
}

function usable(reading, epsilon) {
  return reading.exact ? Math.min(epsilon, reading.epsilon) : epsilon;
}

function staleWords(reading, shown) {
  const rows = shown.at === null ? `Rows are cut again at ε = ${short(shown.epsilon)}.` : "Rows have their distance at the position chosen above.";
  return `${rows} The answer, patterns and trust are those of ε = ${short(reading.epsilon)}.`;
}

/** How many rows there are, and by what they were chosen. */
function rowsWords(reading, { order, epsilon, pattern }, groups, n) {
  if (order === "misses") return `${many(groups.near.length, "input")} beyond ε = ${short(epsilon)}, nearest first`;
  const listed = groups.members.length;
  const members = listed < n ? `${many(listed, "member")} listed of ${many(n, "input")} inside ε = ${short(epsilon)}` : `${many(n, "input")} inside ε = ${short(epsilon)}`;
  const how = order === "nearest" ? "nearest first: these look like the query"
    : groups.members.every((i) => reading.samples[i].inside) ? reading.words.answer.rows : "in random order: weights are known only to the reading’s own ε";
  return `${members}, ${how}${pattern === null ? "" : ", only those of the chosen pattern"}`;
}
