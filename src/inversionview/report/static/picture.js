/**
 * The shown reading as a drawing of its own: SVG with text as text, or a PNG of it.
 */

import { featuresByBits } from "./bits.js";
import { barScale, cut, headlineOf, inside } from "./cut.js";
import { s } from "./dom.js";
import { changeClass } from "./scale.js";
import { layoutOf, windowOf } from "./tokens.js";
import { distanceText, many, short, width } from "./words.js";

const SANS = 'system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif';
const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const ROW = 24;
const MARGIN = 28;
const CHARACTER = 8.6;
const MEMBERS = 24;
const NEAR = 6;

/**
 * @typedef {{words?: string, label?: string, line?: {tokens: string[], position: number}, bold?: boolean,
 *   distance?: number, colors?: number[] | null}} Line words between rows, or an input
 */

/**
 * @param {import("./types").Reading} reading unpacked
 * @param {number} epsilon
 * @param {CSSStyleDeclaration} theme custom properties with the colours
 * @returns {SVGSVGElement}
 */
export function drawPicture(reading, epsilon, theme) {
  const color = (name) => theme.getPropertyValue(`--${name}`).trim() || "#888888";
  const groups = cut(reading, epsilon);
  const n = inside(reading, groups, epsilon, null);
  const scale = barScale(reading, epsilon, null);
  const parts = [];
  const text = (x, y, words, more = {}) => parts.push(s("text", { x, y, fill: color("ink"), "font-size": 13, ...more }, words));
  text(MARGIN, 44, `${reading.site} at ${reading.query.at} · ${headlineOf(reading, { epsilon, at: null }, n)}`, { "font-size": 19, "font-weight": 650 });
  let y = 66;
  for (const sentence of `${reading.study} · ${reading.words.sentences[0]}`.split(/(?<=\.) /)) {
    text(MARGIN, y, sentence, { fill: color("muted"), "font-size": 12 });
    y += 17;
  }
  y += 2;
  for (const one of featuresByBits(reading).slice(0, 6)) {
    text(MARGIN, y + 12, one.name, { "font-weight": 600 });
    parts.push(s("rect", { x: MARGIN + 110, y: y + 3, width: 160, height: 10, fill: color("panel"), stroke: color("line") }));
    parts.push(s("rect", { x: MARGIN + 110, y: y + 3, width: 160 * one.share, height: 10, fill: color("bar") }));
    text(MARGIN + 282, y + 12, `${one.words[0]} ${one.words[1]} bits`, { "font-size": 12 });
    y += 20;
  }
  y += 22;
  /** @type {Line[]} */
  const lines = [
    { label: "query", line: reading.query, bold: true },
    ...groups.members.slice(0, MEMBERS).map((i) => sampleLine(reading, i, epsilon)),
    { words: dividerWords(groups, n, epsilon) },
    ...groups.near.slice(0, NEAR).map((i) => sampleLine(reading, i, epsilon)),
  ];
  const layout = layoutOf(reading);
  const left = MARGIN + 190;
  let right = left;
  for (const item of lines) {
    if (!item.line) {
      y += 4;
      text(MARGIN, y, item.words, { "font-weight": 600, "font-size": 12 });
      parts.push(s("rect", { x: MARGIN, y: y + 7, width: 1, height: 1, class: "rule" }));
      y += 8;
    } else {
      text(MARGIN + 56, y, item.label, { "text-anchor": "end", fill: color(item.bold ? "muted" : "ink"), "font-size": 12 });
      if (item.distance !== undefined) {
        const share = Math.min(1, item.distance / scale);
        parts.push(s("rect", { x: MARGIN + 66, y: y - 9, width: Math.max(2, 100 * share), height: 8, fill: color("bar") }));
        parts.push(s("rect", { x: MARGIN + 66 + (100 * epsilon) / scale, y: y - 17, width: 1.5, height: ROW, fill: color("ink") }));
      }
      right = Math.max(right, tokens(parts, item, layout, left, y, color));
    }
    y += ROW;
  }
  const across = Math.max(right + MARGIN, 760);
  for (const rule of parts.filter((part) => part.getAttribute("class") === "rule")) {
    rule.setAttribute("width", `${across - 2 * MARGIN}`);
    rule.setAttribute("fill", color("ink"));
  }
  return s("svg", {
    xmlns: "http://www.w3.org/2000/svg", width: across, height: y + 8, viewBox: `0 0 ${across} ${y + 8}`, "font-family": SANS,
  }, s("rect", { width: "100%", height: "100%", fill: color("surface") }), parts);
}

function dividerWords(groups, n, epsilon) {
  const listed = Math.min(MEMBERS, groups.members.length);
  const shown = listed < n ? `, the nearest ${listed} above` : " above";
  return `ε = ${short(epsilon)} · ${many(n, "member")}${shown}${groups.near.length ? ", near misses below" : ""}`;
}

function sampleLine(reading, i, epsilon) {
  const sample = reading.samples[i];
  return { label: distanceText(sample.distance, epsilon), line: sample, distance: sample.distance ?? undefined, colors: sample.colors };
}

/** @param {any[]} parts @param {Line} item */
function tokens(parts, { line = { tokens: [], position: 0 }, colors, bold }, layout, left, y, color) {
  const [start, stop] = layout.grid ? [0, line.tokens.length] : windowOf(line);
  let x = left;
  if (start > 0) x = put("…", x, "", false);
  for (let i = start; i < stop; i += 1) x = put(line.tokens[i], x, changeClass(colors?.[i]), i === line.position);
  return stop < line.tokens.length ? put("…", x, "", false) : x;

  function put(words, at, tinted, here) {
    const across = width(words) * CHARACTER + (layout.grid ? 14 : 2);
    if (tinted || here) {
      parts.push(s("rect", {
        x: at, y: y - 16, width: across - 1, height: 22, rx: 4, fill: tinted ? color(tinted) : "none",
        stroke: here ? color("muted") : "none",
      }));
    }
    parts.push(s("text", {
      x: at + across / 2 - 0.5, y, "text-anchor": "middle", "font-family": MONO, "font-size": 14, fill: color("ink"),
      "font-weight": bold ? 700 : 400,
    }, words));
    return at + across;
  }
}

/** The drawing as a file. @param {SVGSVGElement} svg */
export function svgBlob(svg) {
  return new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });
}

/**
 * The drawing as an image of twice its size.
 * @param {SVGSVGElement} svg
 * @returns {Promise<Blob>}
 */
export async function pngBlob(svg) {
  const url = URL.createObjectURL(svgBlob(svg));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = 2 * Number(svg.getAttribute("width"));
    canvas.height = 2 * Number(svg.getAttribute("height"));
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture could not be made"))), "image/png");
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}
