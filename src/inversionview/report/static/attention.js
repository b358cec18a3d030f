/**
 * Where heads look: a bar for each token, or a square for each pair of tokens.
 */

import { h, s } from "./dom.js";
import { whole } from "./words.js";

const BRIGHT = 12; // steps of darkness of a square

/**
 * The attention of one head from one position, as a bar over each token.
 * @param {import("./types").Attention} attention
 * @param {{layer: number, head: number, position: number}} where
 */
export function drawHead(attention, { layer, head, position }) {
  const row = attention.layers[layer][head][position];
  return h("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Attention over the tokens" }, h("div", { class: "head-row", role: "list" },
    attention.tokens.map((token, i) => {
      const weight = i <= position ? (row[i] ?? 0) : 0;
      return h("span", { role: "listitem", class: `head-cell${i === position ? " here" : ""}${i > position ? " after" : ""}` },
        h("span", { class: "well" }, h("i", { style: { height: `${100 * weight}%` } })),
        h("span", { class: "tok" }, token),
        h("small", {}, i > position ? "" : weight >= 0.005 ? whole(weight) : "0"));
    })));
}

/**
 * All heads of an input, each as squares: from the token of the row to that of the column.
 * @param {HTMLElement} root
 * @param {import("./types").Attention} attention
 * @param {{position: number, chosen?: {layer: number, head: number} | null,
 *   onChoose?: ((layer: number, head: number) => void) | null, readable?: (layer: number, head: number) => boolean}} options
 */
export function mountAttention(root, attention, { position, chosen = null, onChoose = null, readable = () => true }) {
  const heads = attention.layers.flatMap((layer, i) => layer.map((_, j) => headFigure(attention, i, j)));
  function headFigure(all, i, j) {
    const mine = chosen?.layer === i && chosen?.head === j;
    return h("figure", { class: `heat${mine ? " chosen" : ""}` },
      h("figcaption", {}, onChoose && readable(i, j)
        ? h("button", { type: "button", class: "small", on: { click: () => onChoose(i, j) } }, `a${i}.${j}`)
        : h("code", {}, `a${i}.${j}`),
        h("span", { class: "looks" }, `from ${all.tokens[position]}: ${strongest(all, i, j, position)}`)),
      heat(all.tokens, all.layers[i][j], position));
  }
  root.replaceChildren(h("article", { class: "live attention-view" }, h("div", { class: "heats" }, heads)));
}

/** The tokens that a position looks at most, in words. */
export function strongest(attention, layer, head, position) {
  const row = attention.layers[layer][head][position];
  const order = row.map((weight, i) => ({ weight, i })).filter((one) => one.weight >= 0.1 && one.i <= position);
  order.sort((a, b) => b.weight - a.weight);
  const told = order.slice(0, 3).map((one) => `${attention.tokens[one.i]} ${whole(one.weight)}`);
  return told.join(", ") || "spread out";
}

function heat(tokens, weights, position) {
  const n = tokens.length;
  const labelled = n <= 32;
  const edge = labelled ? 1.2 : 0;
  const squares = [];
  for (let from = 0; from < n; from += 1) {
    for (let to = 0; to <= from; to += 1) {
      const step = Math.round(BRIGHT * Math.min(1, weights[from][to] ?? 0));
      if (!step) continue;
      squares.push(s("rect", { x: to + edge, y: from + edge, width: 0.94, height: 0.94, class: "square", "fill-opacity": (step / BRIGHT).toFixed(2) },
        s("title", {}, `${tokens[from]} → ${tokens[to]}: ${whole(weights[from][to])}`)));
    }
  }
  const text = (x, y, i, anchor) => s("text", { x, y, "text-anchor": anchor, "font-size": 0.72, class: i === position ? "here" : "" },
    tokens[i].slice(0, 4));
  const labels = labelled ? tokens.flatMap((_, i) => [text(i + edge + 0.47, 0.9, i, "middle"), text(0.95, i + edge + 0.72, i, "end")]) : [];
  return s("svg", { viewBox: `0 0 ${n + edge} ${n + edge}`, role: "img", "aria-label": "attention from the token of each row to that of each column" },
    s("rect", { x: edge, y: position + edge - 0.03, width: position + 1, height: 1, class: "row-mark" }), squares, labels);
}
