/**
 * Which of a reading's patterns each of its samples has: Python found them, and says by which features or positions.
 */

/**
 * @param {import("./types").PackedReading} packed
 * @returns {(number | undefined)[]} a pattern for each sample; none where a feature that they go by is not among the columns
 */
export function patternOfEach({ patterns, features, samples, strings }) {
  const items = (patterns?.by ?? []).map((name) => {
    const column = features.find((feature) => feature.name === name);
    const at = Number(/^token (\d+)$/.exec(name)?.[1]);
    return column ? (i) => column.values[i] : Number.isNaN(at) ? null : (i) => samples[i].tokens[at];
  });
  if (!patterns || !items.length || items.includes(null)) return [];
  const keys = samples.map((_, i) => items.map((item) => item?.(i)).join(" "));
  const rows = new Map(samples.map((sample, i) => [inputOf(sample.tokens, strings), i]));
  /** @type {Map<string, number>} */
  const found = new Map();
  patterns.found.forEach(({ examples }, k) => {
    const row = examples.map((example) => rows.get(example.trim())).find((i) => i !== undefined);
    if (row !== undefined) found.set(keys[row], k);
  });
  return keys.map((key) => found.get(key));
}

/** The text of an input between its begin and end tokens. */
function inputOf(tokens, strings) {
  return tokens.slice(1, -1).map((i) => strings[i]).join("").trim();
}
