/**
 * Tokens in a row of samples: a column for each, or for long inputs the text around the position that was read.
 */

import { h } from "./dom.js";
import { changeClass, nearClass } from "./scale.js";
import { width } from "./words.js";

const GRID_WIDTH = 100; // characters of the widest table with a column for each token
const BEFORE = 52; // characters shown before the position read, where tokens have no columns
const AFTER = 26;
const WIDEST = 18; // characters of the widest token at the position read

/**
 * @typedef {{grid: boolean, columns: number, template: string}} Layout
 * @typedef {"change" | "distance" | "none"} Tint what colours a token
 */

/**
 * Choose how the tokens of a reading are laid out.
 * @param {import("./types").Reading} reading
 * @returns {Layout}
 */
export function layoutOf(reading) {
  const rows = [reading.query, ...reading.samples];
  const columns = Math.max(...rows.map((row) => row.tokens.length));
  const widthOf = new Map();
  const wide = (token) => {
    if (!widthOf.has(token)) widthOf.set(token, width(token));
    return widthOf.get(token);
  };
  if (columns <= GRID_WIDTH) {
    const widths = Array.from({ length: columns }, (_, i) =>
      Math.max(1, ...rows.map((row) => (i < row.tokens.length ? wide(row.tokens[i]) : 1))));
    if (widths.reduce((sum, one) => sum + one + 1, 0) <= GRID_WIDTH) {
      return { grid: true, columns, template: widths.map((w) => `calc(${w}ch + var(--pad))`).join(" ") };
    }
  }
  const match = Math.min(WIDEST, Math.max(1, ...rows.map((row) => wide(row.tokens[row.position] ?? ""))));
  return { grid: false, columns: 3, template: `var(--before) calc(${match}ch + 14px) var(--after)` };
}

/**
 * The cells of one input.
 * @param {Layout} layout
 * @param {{tokens: string[], position: number}} line
 * @param {(i: number) => string} tint the class of a token's colour
 * @param {string | null} role of each cell
 */
export function tokenCells(layout, line, tint, role) {
  if (layout.grid) {
    return Array.from({ length: layout.columns }, (_, i) =>
      i < line.tokens.length ? token(line, i, tint(i), { role }) : h("span", { role }));
  }
  const [start, stop] = windowOf(line);
  const spans = (from, to) => Array.from({ length: to - from }, (_, k) => token(line, from + k, tint(from + k)));
  const before = [start > 0 ? "…" : "", ...spans(start, line.position)];
  const after = [...spans(line.position + 1, stop), stop < line.tokens.length ? "…" : ""];
  const match = line.position < line.tokens.length ? token(line, line.position, tint(line.position)) : "";
  return [
    h("span", { class: "before", role }, h("span", {}, before)),
    h("span", { class: "match", role }, match),
    h("span", { class: "after", role }, h("span", {}, after)),
  ];
}

/** One token as text, with its index for those who ask what is known of it. */
export function token(line, i, tinted, props = {}) {
  const names = ["tok", tinted, i === line.position ? "here" : ""].filter(Boolean).join(" ");
  return h("span", { class: names, "data-i": i, ...props }, line.tokens[i]);
}

/** The first and last index (exclusive) of the tokens that fit around the position read. */
export function windowOf({ tokens, position }) {
  let start = position;
  for (let room = BEFORE; start > 0 && room >= width(tokens[start - 1]); start -= 1) room -= width(tokens[start - 1]);
  let stop = Math.min(position + 1, tokens.length);
  for (let room = AFTER; stop < tokens.length && room >= width(tokens[stop]); stop += 1) room -= width(tokens[stop]);
  return [start, stop];
}

/**
 * What colours the tokens of a sample.
 * @param {import("./types").Sample} sample
 * @param {Tint} by
 * @returns {(i: number) => string}
 */
export function tintOf(sample, by) {
  if (by === "change") return (i) => changeClass(sample.colors?.[i]);
  if (by === "distance") return (i) => nearClass(sample.token_distances?.[i]);
  return () => "";
}
