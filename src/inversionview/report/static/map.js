/**
 * A map of a model: sites by named positions, each cell the feature it knows best. A cell opens to all its numbers.
 */

import { fill, h } from "./dom.js";
import { gridOf, MANY } from "./map-grid.js";
import { roving } from "./roving.js";
import { changeClass, shareKnown } from "./scale.js";
import { error, fixed, short, whole } from "./words.js";

/** What the site's cell at a position knows best; null where nothing was measured. */
export function cellAt(map, site, at) {
  return map?.cells.find((cell) => cell.site === site && cell.at === at) ?? null;
}

/** The best-known feature of a cell with its share; null where it knows as good as nothing. */
export function bestOf(cell) {
  if (!cell?.best) return null;
  const feature = cell.bits[cell.best];
  return { name: cell.best, share: shareKnown(feature.bits, feature.of) };
}

/**
 * @param {HTMLElement} root
 * @param {import("./types").PackedMap} map a document of `pack_map`
 * @param {{abouts?: Record<string, string>, chosen?: {site: string, at: string} | null,
 *   onChoose?: ((site: string, at: string) => void) | null, tools?: HTMLElement[]}} [options]
 */
export function mountMap(root, map, { abouts = {}, chosen = null, onChoose = null, tools = [] } = {}) {
  const detail = h("div", { class: "map-detail", role: "status" },
    h("p", { class: "hint" }, "Choose a cell to see all that it knows."));
  const columns = map.ats.length;
  const body = map.sites.map((site, i) => h("tr", {}, h("th", { scope: "row" }, site),
    map.ats.map((at, j) => {
      const cell = cellAt(map, site, at);
      return h("td", {}, cell ? cellButton(cell, i * columns + j) : null);
    })));
  const table = map.sites.length > MANY ? gridOf(map, choose) : h("table", { class: "map-table" },
    h("caption", { class: "unseen" }, "Sites by named positions"),
    h("thead", {}, h("tr", {}, h("td"), map.ats.map((at) => h("th", { scope: "col" }, at)))), h("tbody", {}, body));
  const rove = roving(table, map.sites.length > MANY ? {} : { columns: () => columns });

  function cellButton(cell, place) {
    const best = bestOf(cell);
    const [name, bits, others] = cell.face;
    return h("button", {
      type: "button", class: `map-cell ${(best && changeClass(best.share)) || "blank"}`, "data-rove": place, "data-site": cell.site,
      "data-at": cell.at, "aria-pressed": "false", "aria-label": `${cell.site} at ${cell.at}: ${cell.says}`,
      on: { click: () => choose(cell) },
    }, best ? [h("b", {}, name), h("span", {}, bits), others ? h("small", {}, others) : null] : h("span", { class: "none" }, name));
  }

  function choose(cell) {
    for (const button of table.querySelectorAll(".map-cell")) {
      const same = button.dataset.site === cell.site && button.dataset.at === cell.at;
      button.setAttribute("aria-pressed", `${same}`);
    }
    fill(detail, cellDetail(cell, abouts, onChoose));
  }

  fill(root, h("article", { class: "live map-view" },
    h("header", { class: "reading-head" }, h("h2", {}, map.words.heading), h("div", { class: "tools" }, tools)),
    h("div", { class: "map-scroll" }, table), legend(map), detail,
    h("div", { class: "notes" }, map.words.notes.map((note) => h("p", {}, note)))));
  const first = chosen && cellAt(map, chosen.site, chosen.at);
  if (first) choose(first);
  rove.reset();
}

function cellDetail(cell, abouts, onChoose) {
  const place = [h("code", {}, cell.site), " at ", h("code", {}, cell.at)];
  if (cell.log2_domain_over_preimage === null) return h("p", {}, place, ": ", cell.why_not ?? "not known");
  const rows = Object.entries(cell.bits).sort((a, b) => b[1].bits - a[1].bits).map(([name, one]) => {
    const share = shareKnown(one.bits, one.of);
    return h("tr", { class: cell.knows.includes(name) ? "known" : "" },
      h("th", { scope: "row", title: abouts[name] || null }, name),
      h("td", { class: "well-cell" }, h("span", { class: "well" }, h("i", { style: { width: `${100 * share}%` } }))),
      h("td", { title: one.interval ? `95% interval ${fixed(one.interval[0])} to ${fixed(one.interval[1])}` : null }, fixed(one.bits), error(one.se)),
      h("td", {}, fixed(one.of)), h("td", {}, whole(share)), h("td", {}, fixed(one.divergence)));
  });
  return [
    h("p", {}, h("strong", {}, place), " · ", `${fixed(cell.log2_domain_over_preimage)}${error(cell.se)} bits about the whole input, `,
      cell.queries > 1 ? `mean over ${cell.queries} queries` : "one query",
      cell.epsilon ? `, ε = ${short(cell.epsilon)}` : "", " ",
      onChoose ? h("button", { type: "button", class: "small", on: { click: () => onChoose(cell.site, cell.at) } }, "read here") : null),
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
  const ramp = Array.from({ length: 9 }, (_, i) => h("i", { class: i ? `p${i}` : "" }));
  return h("p", { class: "map-legend" },
    h("span", {}, "0% ", h("span", { class: "ramp", "aria-hidden": "true" }, ramp), " 100% of the feature’s entropy"),
    map.words.settings.map(([sign, words]) => h("span", {}, h("b", {}, sign), ` ${words}`)));
}
