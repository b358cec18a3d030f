/**
 * A map of a model: sites by named positions, each cell the feature it knows best, or of one feature how much of it each
 * has. A cell opens to all its numbers.
 */

import { fill, h } from "./dom.js";
import { gridOf, MANY } from "./map-grid.js";
import { roving } from "./roving.js";
import { shareKnown } from "./scale.js";
import { error, fixed, short, whole } from "./words.js";

const FAINT = 0.06; // share below which no colour would be seen
const HUES = 6; // colours of `theme.css`; features beyond are grey, and told by their names

/** The cell of a site at a position; null where the map has none. */
export function cellAt(map, site, at) {
  return map?.cells.find((cell) => cell.site === site && cell.at === at) ?? null;
}

/** The best-known feature of a cell with its share; null where it knows nothing, or was not measured. */
export function bestOf(cell) {
  return cell?.level && cell.level !== "nothing" && cell.best ? partOf(cell, cell.best) : null;
}

/** What a cell gives of a feature; null where that was not measured. */
export function partOf(cell, name) {
  const feature = cell?.bits[name];
  return feature ? { name, share: shareKnown(feature.bits, feature.of), bits: feature.bits, of: feature.of } : null;
}

function shareOf(cell, name) {
  return partOf(cell, name)?.share ?? 0;
}

/** Whether the token itself gives a feature, whatever the model makes of it. */
export function isGiven(map, at, name) {
  return (map.given[at] ?? []).includes(name);
}

/**
 * How features are coloured: those that most cells know best have a colour of their own.
 * @param {import("./types").PackedMap} map
 * @returns {(part: {name: string, share: number} | null) => {class: string, style: Record<string, any>}}
 */
export function paintOf(map) {
  const counts = new Map();
  for (const cell of map.cells) {
    const best = bestOf(cell);
    if (best && !isGiven(map, cell.at, best.name)) counts.set(best.name, (counts.get(best.name) ?? 0) + best.share);
  }
  const colored = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, HUES);
  return (part) => {
    if (!part || part.share < FAINT) return { class: "blank", style: {} };
    const hue = colored.indexOf(part.name);
    return { class: hue < 0 ? "hue" : `hue h${hue}`, style: { "--share": part.share.toFixed(3) } };
  };
}

/**
 * @param {HTMLElement} root
 * @param {import("./types").PackedMap} map a document of `pack_map`
 * @param {{abouts?: Record<string, string>, chosen?: {site: string, at: string} | null, feature?: string,
 *   onChoose?: ((site: string, at: string) => void) | null, onFeature?: (name: string) => void,
 *   onExplain?: ((cell: import("./types").Cell, done: () => void) => void) | null, tools?: HTMLElement[]}} [options]
 */
export function mountMap(root, map, { abouts = {}, chosen = null, feature = "", onChoose = null, onFeature = () => {}, onExplain = null, tools = [] } = {}) {
  const columns = map.ats.length;
  const many = map.sites.length > MANY;
  const paint = paintOf(map);
  const names = [...new Set(map.cells.flatMap((cell) => Object.keys(cell.bits)))];
  let shown = names.includes(feature) ? feature : "";
  /** @type {import("./types").Cell | null} */
  let opened = chosen && cellAt(map, chosen.site, chosen.at);

  const detail = h("div", { class: "map-detail", role: "status" });
  const known = h("div", { class: "map-known", role: "status" });
  const box = h("div", { class: "map-scroll" });
  const rove = roving(box, many ? {} : { columns: () => columns });
  const choices = ["", ...names.filter((name) => !map.unasked.includes(name)), ...names.filter((name) => map.unasked.includes(name))]
    .map((name) => h("button", {
      type: "button", class: "feature-choice", "data-feature": name, title: abouts[name] || null, on: { click: () => about(name) },
    }, name ? [h("i", { "aria-hidden": "true", ...painted({ name, share: 1 }) }), name] : "all: the one each knows best"));
  const chooser = h("div", { class: "map-features", role: "group", "aria-label": "Where is" }, h("span", { class: "hint" }, "Where is"), choices);

  /** @param {{name: string, share: number} | null} part @param {string} [more] names of classes */
  function painted(part, more = "") {
    const { class: names_, style } = paint(part);
    return { class: `${more} ${names_}`.trim(), style };
  }

  function about(name) {
    shown = name;
    draw();
    onFeature(name);
  }

  function draw() {
    for (const button of choices) button.setAttribute("aria-pressed", `${button.dataset.feature === shown}`);
    fill(box, many ? gridOf(map, { choose, feature: shown, painted }) : h("table", { class: "map-table" },
      h("caption", { class: "unseen" }, shown ? `How much of ${shown} sites know at named positions` : "Sites by named positions"),
      h("thead", {}, h("tr", {}, h("td"), map.ats.map((at) => h("th", { scope: "col" }, at)))),
      h("tbody", {}, map.sites.map((site, i) => h("tr", {}, h("th", { scope: "row" }, site), map.ats.map((at, j) => {
        const cell = cellAt(map, site, at);
        return h("td", {}, cell ? cellButton(cell, i * columns + j) : null);
      }))))));
    fill(known, knownFrom());
    press();
    rove.reset();
    fill(detail, opened ? detailOf(opened) : h("p", { class: "hint" }, "Choose a cell to see all that it knows."));
  }

  function cellButton(cell, place) {
    const part = shown ? partOf(cell, shown) : bestOf(cell);
    const given = part && isGiven(map, cell.at, part.name);
    const says = shown ? wordsOf(part, cell) : cell.says;
    return h("button", {
      type: "button", ...painted(part, `map-cell${given ? " given" : ""}`), "data-rove": place, "data-site": cell.site, "data-at": cell.at,
      "aria-pressed": "false", "aria-label": `${cell.site} at ${cell.at}: ${says}${given ? "; the token gives it" : ""}`,
      title: cell.in_words || null,
      on: { click: () => choose(cell) },
    }, shown ? shareFace(part) : bestFace(cell, part));
  }

  function bestFace(cell, best) {
    const [name, bits, others] = cell.face;
    return best ? [h("b", {}, name), h("span", {}, bits), others ? h("small", {}, others) : null] : h("span", { class: "none" }, name);
  }

  function knownFrom() {
    if (!shown) return null;
    const places = Object.entries(map.known_from[shown] ?? {});
    const given = map.ats.filter((at) => isGiven(map, at, shown));
    const made = places.filter(([at]) => !given.includes(at));
    return h("p", {}, h("b", {}, shown), abouts[shown] ? `, ${abouts[shown]}: ` : ": ",
      made.length ? ["known from ", made.map(([at, site]) => [goTo(site, at), " "])] : ["no site knows it where the token does not give it", mostAt(given), " "],
      given.length ? h("span", { class: "hint" }, `the token gives it at ${given.join(", ")}`) : null);
  }

  function mostAt(given) {
    const cells = map.cells.filter((cell) => cell.bits[shown] && !given.includes(cell.at));
    if (!cells.length) return "";
    const most = cells.reduce((a, b) => (shareOf(b, shown) > shareOf(a, shown) ? b : a));
    return ["; most of it is at ", goTo(most.site, most.at), ` ${whole(shareOf(most, shown))}`];
  }

  function goTo(site, at) {
    return h("button", { type: "button", class: "small", on: { click: () => choose(cellAt(map, site, at)) } }, h("code", {}, site), ` at ${at}`);
  }

  function press() {
    for (const button of box.querySelectorAll(".map-cell")) {
      button.setAttribute("aria-pressed", `${button.dataset.site === opened?.site && button.dataset.at === opened?.at}`);
    }
  }

  function choose(cell) {
    opened = cell;
    press();
    fill(detail, detailOf(cell));
  }

  function detailOf(cell) {
    const explain = onExplain && (() => onExplain(cell, draw));
    return cellDetail(map, cell, { abouts, shown, onChoose, explain });
  }

  fill(root, h("article", { class: "live map-view" },
    h("header", { class: "reading-head" }, h("h2", {}, map.words.heading), h("div", { class: "tools" }, tools)),
    chooser, known, box, legend(map), detail,
    h("div", { class: "notes" }, map.words.notes.map((note) => h("p", {}, note)))));
  draw();
}

function shareFace(part) {
  if (!part) return h("span", { class: "none" }, "?");
  return [h("b", {}, whole(part.share)), h("span", {}, fixed(part.bits))];
}

function wordsOf(part, cell) {
  return part ? `${whole(part.share)} of ${part.name}, ${fixed(part.bits)} of ${fixed(part.of)} bits` : cell.says;
}

/** Features of a cell, that of its face first: those it knows by bits, the others by share. */
export function sorted(cell) {
  const rest = Object.keys(cell.bits).filter((name) => !cell.knows.includes(name));
  return [...cell.knows, ...rest.sort((a, b) => shareOf(cell, b) - shareOf(cell, a))];
}

function cellDetail(map, cell, { abouts, shown, onChoose, explain }) {
  const place = [h("code", {}, cell.site), " at ", h("code", {}, cell.at)];
  const go = onChoose ? h("button", { type: "button", class: "small", on: { click: () => onChoose(cell.site, cell.at) } }, "read here") : null;
  const words = cell.in_words
    ? h("p", { class: "cell-words" }, h("b", {}, "In words: "), cell.in_words)
    : explain ? h("p", {}, h("button", { type: "button", class: "small", on: { click: explain } }, "put it in words")) : null;
  if (!cell.level) return [h("p", {}, place, ": ", cell.says, " ", go), words];
  const rows = sorted(cell).filter((name) => name === shown || !map.unasked.includes(name)).map((name) => {
    const one = cell.bits[name];
    const share = shareKnown(one.bits, one.of);
    const names = [cell.knows.includes(name) ? "known" : "", name === shown ? "asked" : ""].filter(Boolean).join(" ");
    return h("tr", { class: names || null },
      h("th", { scope: "row", title: abouts[name] || null }, name, isGiven(map, cell.at, name) ? h("small", {}, " by the token") : null),
      h("td", { class: "well-cell" }, h("span", { class: "well" }, h("i", { style: { width: `${100 * share}%` } }))),
      h("td", { title: one.interval ? `95% interval ${fixed(one.interval[0])} to ${fixed(one.interval[1])}` : null }, fixed(one.bits), error(one.se)),
      h("td", {}, fixed(one.of)), h("td", {}, whole(share)), h("td", {}, fixed(one.divergence)));
  });
  return [
    h("p", {}, h("strong", {}, place), " · ", `${fixed(cell.log2_domain_over_preimage)}${error(cell.se)} bits about the whole input, `,
      cell.queries > 1 ? `mean over ${cell.queries} queries` : "one query",
      cell.epsilon ? `, ε = ${short(cell.epsilon)}` : "", " ", go),
    words,
    h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ["feature", "known", "bits", "of", "share", "KL"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows)),
    cell.by ? h("p", {}, "By value: ", cell.by.map((part) => h("span", { class: "part" }, `${part.value} (${part.queries}): ${mostOf(part)}; `))) : null,
  ];
}

/** The two features of which the queries with one value of another feature tell most. */
function mostOf(part) {
  const known = Object.entries(part.bits).filter(([, bits]) => bits > 0.05).sort((a, b) => b[1] - a[1]).slice(0, 2);
  return known.map(([name, bits]) => `${name} ${fixed(bits)}`).join(", ") || "nothing";
}

function legend(map) {
  const ramp = Array.from({ length: 9 }, (_, i) => h("i", { class: "hue h0", style: { "--share": i / 8 } }));
  return h("p", { class: "map-legend" },
    h("span", {}, "0% ", h("span", { class: "ramp", "aria-hidden": "true" }, ramp), " 100% of the feature’s entropy"),
    map.words.settings.map(([sign, words]) => h("span", {}, h("b", {}, sign), ` ${words}`)),
    h("span", {}, h("span", { class: "given-sign" }, "dashed"), " the token itself gives it"));
}
