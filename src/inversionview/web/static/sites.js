/**
 * The sites of a model as a grid, layers by heads, coloured by what each knows at the chosen position.
 */

import { fill, h } from "./report/dom.js";
import { bestOf, cellAt, isGiven, paintOf } from "./report/map.js";
import { roving } from "./report/roving.js";
import { get, pathOf } from "./api.js";
import { makeJob } from "./job.js";

const HOW_WELL = { known: "knows best", partly: "knows partly", little: "knows a little of" };
const NOT_MAPPED = "not measured: it is not in the map";
const NAMED_HEADS = 6; // more heads than that leave no room for the name of a feature
/**
 * Columns of other sites than heads, in the order in which a layer computes them.
 * @type {[string, RegExp][]}
 */
const PARTS = [["pre", /^x\d+\.pre$/], ["attn", /^attn\d+$/], ["mid", /^x\d+\.mid$/], ["mlp", /^m\d+$/], ["post", /^x\d+\.post$/]];

/**
 * Where each site of a study stands.
 * @param {import("./report/types").Study} study
 */
export function gridOf(study) {
  const heads = Math.max(0, ...study.sites.map((site) => (site.head === null ? 0 : site.head + 1)));
  const parts = PARTS.filter(([, form]) => study.sites.some((site) => form.test(site.name)));
  const names = [
    ...parts.filter(([name]) => name === "pre").map(([name]) => name),
    ...Array.from({ length: heads }, (_, i) => `${i}`),
    ...parts.filter(([name]) => name !== "pre").map(([name]) => name),
  ];
  const columnOf = (site) => names.indexOf(site.head !== null ? `${site.head}` : parts.find(([, form]) => form.test(site.name))?.[0] ?? "");
  const layers = [...new Set(study.sites.map((site) => site.layer))].sort((a, b) => a - b);
  const rows = layers.map((layer) => {
    /** @type {(import("./report/types").StudySite | null)[]} */
    const row = new Array(names.length).fill(null);
    for (const site of study.sites) if (site.layer === layer && columnOf(site) >= 0) row[columnOf(site)] = site;
    return { layer, row };
  });
  return { names, rows, heads, others: study.sites.filter((site) => columnOf(site) < 0) };
}

/**
 * @param {{onChoose: (site: string) => void, onMap: (map: import("./report/types").PackedMap) => void}} options
 */
export function makeSites({ onChoose, onMap }) {
  const table = h("table", { class: "site-grid" });
  const said = h("p", { class: "hint site-said", role: "status" });
  const legend = h("p", { class: "hint site-legend" });
  const job = makeJob({ label: "map" });
  const make = h("button", { type: "button", class: "small" }, "Map the model");
  const element = h("div", { class: "sites" }, h("div", { class: "site-scroll" }, table), said, legend, job.element);
  const rove = roving(table, { columns: () => grid.names.length });
  /** @type {ReturnType<typeof gridOf>} */
  let grid = { names: [], rows: [], heads: 0, others: [] };
  /** @type {import("./report/types").Study} */
  let study;
  /** @type {import("./report/types").PackedMap | null} */
  let map = null;
  let known = false; // whether there is a map
  let paint = /** @type {ReturnType<typeof paintOf>} */ (() => ({ class: "blank", style: {} }));
  let now = { site: "", at: "" };

  make.addEventListener("click", () => job.run(pathOf(study.name, "map"), {}, {
    partial: (document) => take(document),
    done: (result) => take(result.document),
  }));

  async function open(next) {
    study = next;
    grid = gridOf(study);
    map = null;
    known = false;
    paint = () => ({ class: "blank", style: {} });
    job.stop();
    draw();
    const mine = study;
    let document = null;
    try {
      ({ document } = await get(pathOf(study.name, "map")));
    } catch {
      // the grid is as good without colours, and a button makes them
    }
    if (mine !== study || map) return;
    known = true;
    if (document) take(document);
    else draw();
  }

  /** @param {import("./report/types").PackedMap} document */
  function take(document) {
    map = document;
    paint = paintOf(document);
    onMap(document);
    draw();
  }

  function draw() {
    const wide = grid.heads > NAMED_HEADS;
    const focused = table.contains(document.activeElement) ? /** @type {any} */ (document.activeElement).dataset.site : null;
    table.classList.toggle("dense", wide);
    fill(table, h("caption", { class: "unseen" }, "Sites of the model: layers by heads and streams"),
      h("thead", {}, h("tr", {}, h("td"), grid.names.map((name) =>
        h("th", { scope: "col" }, /^\d+$/.test(name) ? (wide ? name : `head ${name}`) : name)))),
      h("tbody", {}, grid.rows.map(({ layer, row }, i) => h("tr", {}, h("th", { scope: "row" }, wide ? layer : `layer ${layer}`),
        row.map((site, j) => h("td", {}, site ? button(site, i * grid.names.length + j, wide) : null))))));
    if (focused) table.querySelector(`[data-site="${CSS.escape(focused)}"]`)?.focus();
    rove.reset();
    say(now.site);
    fill(legend, map && map.ats.includes(now.at)
      ? ["Colour and name: the feature a site knows best at ", h("code", {}, now.at), " (", map.input === null ? "mean over inputs" : "of one input", ")."]
      : map ? ["The map has no column for this position."]
        : known ? ["Not mapped yet: measure once what each site knows, and see it here. ", make] : null);
  }

  function button(site, place, wide) {
    const cell = cellAt(map, site.name, now.at);
    const best = bestOf(cell);
    const pressed = site.name === now.site;
    const { class: names, style } = paint(best);
    const given = best && isGiven(map, now.at, best.name);
    return h("button", {
      type: "button", class: `site ${names}${given ? " given" : ""}`, style, "data-rove": place, "data-site": site.name,
      "aria-pressed": `${pressed}`, "aria-label": `${site.name}${map ? `, ${cell ? cell.says : NOT_MAPPED}` : ""}`,
      on: { click: () => onChoose(site.name), pointerenter: () => say(site.name), focus: () => say(site.name) },
    }, wide ? null : best ? h("b", {}, broken(best.name)) : h("span", { class: "plain-name" }, cell ? (cell.level ? "·" : "?") : site.name));
  }

  function say(name) {
    if (!name) return;
    const cell = cellAt(map, name, now.at);
    fill(said, h("code", {}, name), ` ${wordsOf(study, name)}`, map && map.ats.includes(now.at) ? knowsWords(cell) : "",
      cell?.in_words ? h("span", { class: "in-words" }, `In words: ${cell.in_words}.`) : null);
  }

  /** What a cell knows; what was not measured is not little, and says why. */
  function knowsWords(cell) {
    const best = bestOf(cell);
    if (best) return [` ${HOW_WELL[cell.level]} `, h("b", {}, best.name), cell.says.slice(best.name.length), isGiven(map, now.at, best.name) ? "; the token itself gives it" : ""];
    if (cell?.level) return ` knows ${cell.says}`;
    return cell ? `: ${cell.says}. A reading measures it.` : `: ${NOT_MAPPED}. A reading measures it.`;
  }

  table.addEventListener("pointerleave", () => say(now.site));

  return {
    element, open,
    choose(site, at) {
      now = { site, at };
      if (study) draw();
    },
    map: () => map,
  };
}

/** A name that may be broken after its signs. */
function broken(name) {
  return name.split(/(?<=[+ _-])/).map((part, i) => [i ? h("wbr") : null, part]);
}

/** A site in words. */
export function wordsOf(study, name) {
  const site = study.sites.find((one) => one.name === name);
  if (!site) return "";
  if (site.head !== null) return `(head ${site.head} of layer ${site.layer})`;
  if (site.kind === "mlp") return `(MLP of layer ${site.layer})`;
  if (site.kind === "attn") return `(attention of layer ${site.layer})`;
  const where = name.endsWith(".pre") ? "before" : name.endsWith(".mid") ? "after the attention of" : "after";
  return `(residual stream ${where} layer ${site.layer})`;
}
