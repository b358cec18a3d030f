/**
 * Numbers as text. Sentences come with the documents: Python makes them, and shows what is hidden in names and tokens.
 */

/** How many characters wide a token is drawn. */
export function width(token) {
  return Array.from(token).length;
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

/** Four digits at most. */
export function percent(share) {
  return `${short(100 * share)}%`;
}

/** Without decimals. */
export function whole(share) {
  return `${Math.round(100 * share)}%`;
}

/** An input as it stands in a line: its line ends are shown, and a long one ends between two words, where it has some. */
export function printed(input, most = 160) {
  const shown = input.replaceAll("\n", "↵");
  if (shown.length <= most) return shown;
  const space = shown.lastIndexOf(" ", most - 2);
  return `${shown.slice(0, space > most / 2 ? space : most - 2)} …`;
}
