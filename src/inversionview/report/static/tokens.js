/**
 * Tokens in a row of samples: a column for each, or for long inputs as text that breaks between words.
 */

import { h } from "./dom.js";
import { changeClass, nearClass } from "./scale.js";
import { width } from "./words.js";

const GRID_WIDTH = 100; // characters of the widest table with a column for each token
const NEAR = 3; // how much farther than others a token may be from the position read, and be shown as well

/**
 * @typedef {{grid: boolean, columns: number, template: string}} Layout
 * @typedef {"change" | "distance" | "none"} Tint what colours a token
 * @typedef {{tokens: string[], position: number}} Line
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
  return { grid: false, columns: 1, template: "minmax(28ch, 1fr)" };
}

/**
 * The cells of one input with a column for each token.
 * @param {Layout} layout
 * @param {Line} line
 * @param {(i: number) => string} tint the class of a token's colour
 * @param {string | null} role of each cell
 */
export function tokenCells(layout, line, tint, role) {
  if (!layout.grid) return [textCell(line, tint, { role })];
  return Array.from({ length: layout.columns }, (_, i) =>
    i < line.tokens.length ? token(line, i, tint(i), { role }) : h("span", { role }));
}

/**
 * @typedef {{room?: number, folded?: ((i: number) => boolean), keys?: Set<string>}} Fit characters there is room for, what
 * may be left out, and the texts that must not be
 */

/**
 * One input as text in whole words; what was left out says so when it is pointed at.
 * @param {Line} line
 * @param {(i: number) => string} tint
 * @param {Fit & {role?: string | null}} how
 */
export function textCell(line, tint, { role = null, keys = new Set(), ...fit }) {
  const parts = textParts(line, { ...fit, keys }).map(({ words, i, left }) => {
    if (i === undefined) return h("span", { class: "left-out", title: left }, words);
    const names = `${tint(i)} ${keys.has(bare(line.tokens[i])) ? "key" : ""}`;
    return [words.startsWith(" ") ? " " : "", token(line, i, names, {}, words.trimStart())]; // the space has no colour
  });
  return h("span", { class: "text", role }, h("span", {}, parts));
}

/**
 * Tokens, with spaces as spaces, and between them ellipses for those that were left out.
 * @param {Line} line
 * @param {Fit} fit
 * @returns {{words: string, i?: number, left?: string}[]}
 */
export function textParts(line, { room = 90, folded = () => false, keys = new Set() }) {
  const shown = chosenTokens(line, { room, folded, keys });
  /** @type {{words: string, i?: number, left?: string}[]} */
  const parts = [];
  for (let i = 0; i < line.tokens.length; i += 1) {
    if (shown[i]) {
      parts.push({ words: line.tokens[i].replace(/^·(?=[\p{L}\p{N}'"(])/u, " "), i });
      continue;
    }
    const from = i;
    while (i + 1 < line.tokens.length && !shown[i + 1]) i += 1;
    if (i === from && (i === 0 || i === line.tokens.length - 1)) continue; // the mark of a beginning or an end
    parts.push({ words: `${from ? " " : ""}… `, left: line.tokens.slice(from, i + 1).join("").replaceAll("·", " ").slice(0, 300) });
  }
  return parts;
}

/** Which tokens are shown: those around the position read and the best features' own, as long as there is room. */
function chosenTokens({ tokens, position }, { room, folded, keys }) {
  const own = tokens.map((text) => keys.has(bare(text)));
  const places = [position, ...own.flatMap((is, i) => (is ? [i] : []))];
  const far = (i) => (i === position ? -2 : own[i] ? -1 : Math.min(Math.abs(i - position) - NEAR, ...places.map((place) => Math.abs(i - place))));
  const shown = new Array(tokens.length).fill(false);
  let left = room;
  for (const i of tokens.map((_, k) => k).sort((a, b) => far(a) - far(b) || a - b)) {
    if (folded(i) && far(i) >= 0) continue;
    left -= width(tokens[i]);
    if (left < 0 && i !== position) break;
    shown[i] = true;
  }
  return shown;
}

/** A token without the space before it. */
export function bare(token) {
  return token.replace(/^·+/, "");
}

/** One token as text, with its index for those who ask what is known of it. */
export function token(line, i, tinted, props = {}, text = line.tokens[i]) {
  const names = ["tok", ...tinted.split(" "), i === line.position ? "here" : ""].filter(Boolean).join(" ");
  return h("span", { class: names, "data-i": i, ...props }, text);
}

/**
 * What all rows have in common, counted from the beginning, from the position read and from the end: runs of two tokens or
 * more, and what stands at the very ends.
 * @param {import("./types").Reading} reading
 * @param {number[]} members
 * @returns {(line: {ids: number[], position: number}) => ((i: number) => boolean)}
 */
export function commonRuns(reading, members) {
  const lines = [reading.query, ...members.map((i) => reading.samples[i])];
  const starts = [() => 0, (line) => line.position, (line) => line.ids.length - 1];
  const common = starts.map((start) => {
    const first = start(lines[0]);
    return new Set(lines[0].ids.map((_, i) => i - first).filter((k) =>
      lines.length > 1 && lines.every((line) => line.ids[start(line) + k] === lines[0].ids[first + k])));
  });
  return (line) => {
    const same = line.ids.map((_, i) => i !== line.position && starts.some((start, a) => common[a].has(i - start(line))));
    const last = same.length - 1;
    return (i) => same[i] && (i === 0 || i === last || same[i - 1] || same[i + 1]);
  };
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
