/**
 * A reading as a drawing of its own: its answer, its patterns, a dozen typical rows; SVG with text as text, or a PNG of it.
 */

import { bestKnown } from "./bits.js";
import { barScale, cut, typicalOrder } from "./cut.js";
import { s } from "./dom.js";
import { changeClass } from "./scale.js";
import { commonRuns, layoutOf, textParts } from "./tokens.js";
import { distanceText, printed, short, width } from "./words.js";

const SANS = 'system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif';
const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const MARGIN = 28;
const LABEL = 104; // where what stands beside a label begins
const ACROSS = 820;
const CHARACTER = 8.6; // of a row
const LETTER = 6.9; // of a sentence, on average
const ROWS = 12;

/**
 * @param {import("./types").Reading} reading unpacked
 * @param {number} epsilon of the rows; the answer is that of the reading's own
 * @param {CSSStyleDeclaration} theme custom properties with the colours
 * @returns {SVGSVGElement}
 */
export function drawPicture(reading, epsilon, theme) {
  const color = (name) => theme.getPropertyValue(`--${name}`).trim() || "#888888";
  const { answer } = reading.words;
  const parts = [];
  let y = 46;
  let across = ACROSS;
  const text = (x, words, more = {}) => parts.push(s("text", { x, y, fill: color("ink"), "font-size": 13, ...more }, words));
  const rect = (x, height, wide, name) => parts.push(s("rect", { x, y: y - height, width: wide, height, fill: color(name) }));
  const left = MARGIN + LABEL;

  for (const one of wrapped(answer.head, (ACROSS - 2 * MARGIN) / 10.4)) {
    text(MARGIN, one, { "font-size": 19, "font-weight": 650 });
    y += 24;
  }
  y -= 4;
  text(MARGIN, answer.about, { fill: color("muted"), "font-size": 12 });
  y += 10;
  for (const one of wrapped(answer.sentence, (ACROSS - 2 * MARGIN) / 7.6)) {
    y += 19;
    text(MARGIN, one, { "font-size": 15 });
  }
  y += 12;
  block("MEMBERS", answer.members);
  for (const { share, share_words, words, examples } of answer.patterns) {
    y += 20;
    text(left + 52, share_words, { "text-anchor": "end", "font-weight": 600 });
    rect(left + 62, 9, 90, "panel");
    rect(left + 62, 9, 90 * share, "bar");
    text(left + 164, words, { "font-family": MONO, "font-weight": 600 });
    const room = Math.max(0, Math.floor((ACROSS - MARGIN - left - 184 - width(words) * 8) / 8));
    text(left + 184 + width(words) * 8, fitting(examples, room), { "font-family": MONO, fill: color("muted") });
  }
  if (!answer.patterns.length && answer.no_pattern) block("", answer.no_pattern);
  y += 8;
  rows();
  y += 8;
  block("TRUST", answer.trust);
  y += 24;
  return s("svg", {
    xmlns: "http://www.w3.org/2000/svg", width: across, height: y, viewBox: `0 0 ${across} ${y}`, "font-family": SANS,
  }, s("rect", { width: "100%", height: "100%", fill: color("surface") }), parts);

  function block(label, words) {
    const lines = words ? wrapped(words, (ACROSS - MARGIN - left) / LETTER) : [];
    for (const [i, one] of lines.entries()) {
      y += 20;
      if (!i) text(MARGIN, label, { "font-size": 12, "font-weight": 650, fill: color("muted") });
      text(left, one);
    }
  }

  function rows() {
    const groups = cut(reading, epsilon);
    const members = typicalOrder(reading, groups.members).slice(0, ROWS);
    const layout = layoutOf(reading);
    const folded = commonRuns(reading, groups.members);
    const scale = barScale(reading, epsilon, null);
    const again = epsilon === reading.epsilon ? "" : `, cut again at ε = ${short(epsilon)}`;
    y += 20;
    text(MARGIN, "ROWS", { "font-size": 12, "font-weight": 650, fill: color("muted") });
    text(left, members.length ? `typical members, as draws by weight come to them${again}` : `no member was found${again}`, { fill: color("muted") });
    const best = bestKnown(reading).map((name) => reading.features.find((feature) => feature.name === name));
    for (const [k, line] of [reading.query, ...members.map((i) => reading.samples[i])].entries()) {
      const keys = new Set(best.map((feature) => (k ? feature?.values[members[k - 1]] : feature?.query) ?? ""));
      y += 24;
      const sample = line === reading.query ? null : /** @type {import("./types").Sample} */ (line);
      text(MARGIN + 44, sample ? distanceText(sample.distance, epsilon) : "query", { "text-anchor": "end", fill: color(sample ? "ink" : "muted"), "font-size": 12 });
      if (sample) rect(MARGIN + 52, 8, Math.max(2, 44 * Math.min(1, (sample.distance ?? 0) / scale)), "bar");
      across = Math.max(across, tokens(line, sample?.colors, layout, { folded: folded(line), keys }) + MARGIN);
    }
  }

  function tokens(line, colors, layout, fit) {
    let x = left;
    const gap = layout.grid ? 12 : 1;
    const all = layout.grid ? line.tokens.map((words, i) => ({ words, i })) : textParts(line, { room: 78, ...fit });
    for (const { words: spaced, i } of all) {
      const words = i === undefined ? spaced : spaced.trimStart();
      x += (width(spaced) - width(words)) * CHARACTER; // the space has no colour
      const tinted = i === undefined ? "" : changeClass(colors?.[i]);
      const here = i === line.position;
      const wide = width(words) * CHARACTER + gap;
      if (tinted || here) {
        parts.push(s("rect", { x, y: y - 16, width: wide - 1, height: 22, rx: 4, fill: tinted ? color(tinted) : "none", stroke: here ? color("muted") : "none" }));
      }
      text(x + wide / 2 - 0.5, words, { "text-anchor": "middle", "font-family": MONO, "font-size": 14, "font-weight": colors === undefined ? 700 : 400, style: { "white-space": "pre" } });
      x += wide;
    }
    return x;
  }
}

/** As many of the inputs as there is room for, whole; at least the beginning of the first. */
function fitting(inputs, room) {
  let line = printed(inputs[0] ?? "", Math.max(8, room));
  for (const input of inputs.slice(1)) if (width(line) + width(input) + 3 <= room) line += `   ${printed(input)}`;
  return line;
}

/** A sentence in lines of so many letters. */
function wrapped(words, letters) {
  const lines = [""];
  for (const word of words.split(" ")) {
    const last = lines[lines.length - 1];
    if (last && width(last) + width(word) + 1 > letters) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines;
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
