/**
 * Documents as they come from Python: see `report/wire.py`.
 */

/**
 * Give a packed reading its tokens back: strings where there were indexes.
 * @param {import("./types").PackedReading} packed a document of `pack_reading`
 * @returns {import("./types").Reading}
 */
export function unpack({ strings, ...packed }) {
  const text = (/** @type {number} */ i) => strings[i];
  const samples = packed.samples.map((sample) => ({ ...sample, tokens: sample.tokens.map(text) }));
  const features = packed.features.map((column) => ({ ...column, values: column.values.map(text) }));
  return { ...packed, samples, features };
}
