/**
 * A map of hundreds of sites: one small picture for each feature and named position, layers by heads.
 */

import { h } from "./dom.js";
import { shareKnown } from "./scale.js";
import { fixed } from "./words.js";

/** With more sites than this a map is drawn as pictures, and not as a table of names. */
export const MANY = 60;
/** A feature has a picture where some site gives this share of it. */
const SEEN = 0.1;

/** Layer and column of a site in a picture: heads first, then what a layer has once; null where it has no layer. */
export function placeOf(site, heads) {
  const head = /^a(\d+)\.(\d+)$/.exec(site);
  if (head) return { layer: Number(head[1]), column: Number(head[2]), name: head[2] };
  const once = /^(attn|m|x)(\d+)(?:\.(pre|mid|post))?$/.exec(site);
  if (!once) return null;
  const name = once[3] && once[3] !== "post" ? `x.${once[3]}` : once[1];
  return { layer: Number(once[2]), column: heads + ["attn", "x.mid", "m", "x", "x.pre"].indexOf(name), name };
}

/**
 * The pictures, of the features that are known best first, or of one feature alone.
 * @param {import("./types").PackedMap} map
 * @param {{choose: (cell: any) => void, feature: string, painted: (part: any, more?: string) => any}} how `choose` is called with
 *   the cell of a square
 */
export function gridOf(map, { choose, feature, painted }) {
  const heads = 1 + Math.max(-1, ...map.sites.map((site) => Number(/^a\d+\.(\d+)$/.exec(site)?.[1] ?? -1)));
  const wanted = (name) => (feature ? name === feature : !map.unasked.includes(name));
  const pictures = map.ats.flatMap((at) => {
    const cells = map.cells.filter((cell) => cell.at === at);
    const names = [...new Set(cells.flatMap((cell) => Object.keys(cell.bits)))].filter(wanted);
    return names.map((name) => ({ at, name, cells, best: bestOf(cells, name) }));
  }).filter(({ best }) => best && (feature || best.share >= SEEN)).sort((a, b) => b.best.share - a.best.share);
  let place = 0;
  return h("div", { class: "map-pictures" }, pictures.map(({ at, name, cells, best }) => h("figure", { class: "map-picture" },
    h("figcaption", {}, h("b", {}, name), ` at ${at}: most at `, h("code", {}, best.cell.site), `, ${fixed(best.cell.bits[name].bits)} of ${fixed(best.cell.bits[name].of)} bits`),
    h("div", { class: "map-grid", role: "group", "aria-label": `${name} at ${at}, layers by heads` }, cells.map((cell) => {
      const where = placeOf(cell.site, heads);
      return where ? square(cell, name, where, place++) : null;
    })))));

  function square(cell, name, where, rove) {
    const bits = cell.bits[name];
    const share = bits ? shareKnown(bits.bits, bits.of) : 0;
    const says = bits ? `${fixed(bits.bits)} of ${fixed(bits.of)} bits` : "not measured";
    const { class: names, style } = painted({ name, share }, `map-cell square${bits ? "" : " unmeasured"}`);
    return h("button", {
      type: "button", class: names, "data-rove": rove, "data-site": cell.site, "data-at": cell.at,
      "aria-pressed": "false", "aria-label": `${cell.site} at ${cell.at}: ${name}, ${says}`, title: `${cell.site}: ${cell.in_words || says}`,
      style: { ...style, "grid-row": `${where.layer + 1}`, "grid-column": `${where.column + 1}` }, on: { click: () => choose(cell) },
    });
  }
}

function bestOf(cells, name) {
  const known = cells.filter((cell) => cell.bits[name]).map((cell) => ({ cell, share: shareKnown(cell.bits[name].bits, cell.bits[name].of) }));
  return known.length ? known.reduce((best, one) => (one.share > best.share ? one : best)) : null;
}
