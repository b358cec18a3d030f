/**
 * Documents as they come from Python: see `report/wire.py`.
 */

/**
 * Give a packed reading its tokens back: strings where there were indexes.
 * @param {any} packed a document of `pack_reading`; one that is not packed is returned as it is
 * @returns {any}
 */
export function unpack(packed) {
  const strings = packed.strings;
  if (!strings) return packed;
  const text = (/** @type {number} */ i) => strings[i];
  const samples = packed.samples.map((sample) => ({ ...sample, tokens: sample.tokens.map(text) }));
  const features = (packed.features ?? []).map((column) => ({ ...column, values: column.values.map(text) }));
  return { ...packed, samples, features, strings: undefined };
}
