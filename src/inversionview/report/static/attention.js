/**
 * Where heads look: the weights of one position on the text itself, a thumbnail for each head, and one of them large.
 */

import { fill, h, s } from "./dom.js";
import { changeClass } from "./scale.js";
import { whole, width } from "./words.js";

const BRIGHT = 12; // steps of darkness of a square
const CELL = 22; // units of a square of the large matrix; its labels are half as high
const LABEL = 14; // characters of a label
const TOLD = 0.05; // the least weight that is written out

/**
 * The attention of one head from one position, as the colour of each token of the text.
 * @param {import("./types").Attention} attention
 * @param {{layer: number, head: number, position: number}} where
 */
export function drawHead(attention, { layer, head, position }) {
  const row = attention.layers[layer][head][position];
  return h("div", { class: "live head-view" }, h("div", { class: "head-row", role: "list" },
    attention.tokens.map((token, i) => {
      const weight = i <= position ? (row[i] ?? 0) : 0;
      const names = ["head-cell", i === position ? "here" : "", i > position ? "after" : ""].filter(Boolean).join(" ");
      return h("span", { role: "listitem", class: names, title: i > position ? null : whole(weight) },
        h("span", { class: `tok ${changeClass(weight)}` }, token),
        h("small", {}, weight >= TOLD ? whole(weight) : ""));
    })));
}

/**
 * All heads of an input as thumbnails, and the chosen one large: from the token of the row to that of the column.
 * @param {HTMLElement} root
 * @param {import("./types").Attention} attention
 * @param {{position: number, chosen?: {layer: number, head: number} | null,
 *   onChoose?: ((layer: number, head: number) => void) | null, readable?: (layer: number, head: number) => boolean}} options
 */
export function mountAttention(root, attention, { position, chosen = null, onChoose = null, readable = () => true }) {
  const large = h("section", { class: "matrix", "aria-live": "polite" });
  const first = attention.first_layer ?? 0;
  const heads = attention.layers.flatMap((layer, i) => layer.map((weights, j) => {
    const name = `a${first + i}.${j}`;
    const button = h("button", { type: "button", class: "heat", title: `from ${attention.tokens[position]}: ${strongest(attention, i, j, position)}`, on: { click: () => choose(i, j) } },
      h("b", {}, name), thumbnail(weights, position));
    return { i, j, name, button };
  }));

  function choose(i, j) {
    for (const one of heads) {
      const mine = one.i === i && one.j === j;
      one.button.classList.toggle("chosen", mine);
      one.button.setAttribute("aria-pressed", `${mine}`);
    }
    const { name } = /** @type {{name: string}} */ (heads.find((one) => one.i === i && one.j === j));
    fill(large, h("div", { class: "matrix-head" }, h("h3", {}, name),
      h("span", { class: "hint" }, `from ${attention.tokens[position]}: ${strongest(attention, i, j, position)}`),
      onChoose && readable(first + i, j) ? h("button", { type: "button", class: "small", on: { click: () => onChoose(first + i, j) } }, `read ${name}`) : null),
      drawHead(attention, { layer: i, head: j, position }),
      h("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": `Attention of ${name}` }, matrix(attention.tokens, attention.layers[i][j], position)));
  }

  fill(root, h("article", { class: "live attention-view" },
    h("div", { class: "heats", role: "group", "aria-label": "Heads" }, heads.map((one) => one.button)), large));
  const own = heads.find((one) => one.i + first === chosen?.layer && one.j === chosen?.head) ?? heads[0];
  if (own) choose(own.i, own.j);
}

/** The tokens that a position looks at most, in words. */
export function strongest(attention, layer, head, position) {
  const row = attention.layers[layer][head][position];
  const order = row.map((weight, i) => ({ weight, i })).filter((one) => one.weight >= 0.1 && one.i <= position);
  order.sort((a, b) => b.weight - a.weight);
  const told = order.slice(0, 3).map((one) => `${attention.tokens[one.i]} ${whole(one.weight)}`);
  return told.join(", ") || "spread out";
}

/** Squares of a matrix of weights, those that can be seen. */
function squares(weights, size, titled) {
  const parts = [];
  for (let from = 0; from < weights.length; from += 1) {
    for (let to = 0; to <= from; to += 1) {
      const step = Math.round(BRIGHT * Math.min(1, weights[from][to] ?? 0));
      if (!step) continue;
      parts.push(s("rect", { x: to * size, y: from * size, width: 0.94 * size, height: 0.94 * size, class: "square", "fill-opacity": (step / BRIGHT).toFixed(2) },
        titled ? s("title", {}, titled(from, to)) : null));
    }
  }
  return parts;
}

function thumbnail(weights, position) {
  const n = weights.length;
  return s("svg", { viewBox: `0 0 ${n} ${n}`, "aria-hidden": "true" },
    s("rect", { x: 0, y: position - 0.03, width: position + 1, height: 1, class: "row-mark" }), squares(weights, 1, null));
}

/** With all its tokens: those of the columns stand upright, so that none covers its neighbour. */
function matrix(tokens, weights, position) {
  const labels = tokens.map((token) => (width(token) > LABEL ? `${Array.from(token).slice(0, LABEL - 1).join("")}…` : token));
  const edge = 12 + 7.2 * Math.max(...labels.map(width));
  const size = edge + tokens.length * CELL + 4;
  const text = (i, props) => s("text", { "font-size": 12, class: i === position ? "here" : "", ...props }, labels[i], s("title", {}, tokens[i]));
  return s("svg", { width: size, height: size, viewBox: `${-edge} ${-edge} ${size} ${size}`, role: "img", "aria-label": "attention from the token of each row to that of each column" },
    s("rect", { x: 0, y: position * CELL, width: (position + 1) * CELL, height: CELL, class: "row-mark" }),
    squares(weights, CELL, (from, to) => `${tokens[from]} → ${tokens[to]}: ${whole(weights[from][to])}`),
    tokens.map((_, i) => [
      text(i, { x: -6, y: i * CELL + 15, "text-anchor": "end" }),
      text(i, { transform: `translate(${i * CELL + 15} -6) rotate(-90)` }),
    ]));
}
