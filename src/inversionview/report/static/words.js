/**
 * Numbers and tokens as text. Whole sentences come with the documents: Python makes them.
 */

const MARKS = { " ": "·", "\n": "↵", "\t": "⇥", "\r": "␍" };
const HIDDEN = /^[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zs}\p{Zl}\p{Zp}]$/u;
const JOINER = "\u200d"; // emoji families are held together by it

/**
 * A token as text in which nothing is hidden, by the rule of `visible` in `report/reading.py`.
 * @param {string} token
 */
export function visible(token) {
  if (!token) return "∅";
  const characters = Array.from(token);
  const shown = characters.map((c) => visibleCharacter(c, characters.length === 1)).join("");
  return /^\p{M}/u.test(shown) ? `◌${shown}` : shown;
}

/**
 * A name or a sentence with its spaces as they are, and everything else that is hidden made visible.
 * @param {string} text
 */
export function printable(text) {
  return Array.from(text, (c) => (c === " " ? " " : visibleCharacter(c, false))).join("");
}

function visibleCharacter(character, alone) {
  if (character in MARKS) return MARKS[character];
  if (!HIDDEN.test(character) || (character === JOINER && !alone)) return character;
  return `⟨${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** How many characters wide a token is drawn. */
export function width(token) {
  return Array.from(visible(token)).length;
}

/** @param {number} n */
export function count(n) {
  return n.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** A noun with its number: `1 member`, `12 members`. */
export function many(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** @param {number} x @param {number} [digits] */
export function fixed(x, digits = 2) {
  const text = x.toFixed(digits);
  return (/^-0\.?0*$/.test(text) ? text.slice(1) : text).replace("-", "−");
}

/** A standard error after its value; nothing where there is none. @param {number | null} se */
export function error(se) {
  return se === null ? "" : ` ± ${se >= 0.005 ? se.toFixed(2) : Number(se.toPrecision(1))}`;
}

/** With its sign, as a change has it. */
export function signed(x, digits = 2) {
  const text = fixed(x, digits);
  return text.startsWith("−") ? text : `+${text}`;
}

/** Three decimals, or as many more as a small epsilon needs; a dash where there is no distance. */
export function distanceText(distance, epsilon) {
  if (distance === null || distance === undefined) return "–";
  return distance.toFixed(Math.max(3, 2 - Math.floor(Math.log10(epsilon))));
}

/** Four significant digits at most, without trailing zeros. */
export function short(x) {
  return `${Number(x.toPrecision(4))}`;
}

/** One decimal; only none and all are written 0.0% and 100.0%. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  if (share >= 0.9995 && share < 1) return ">99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

/** Without decimals. */
export function whole(share) {
  return `${Math.round(100 * share)}%`;
}
