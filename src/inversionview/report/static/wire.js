/**
 * Documents as they come from Python: see `report/wire.py`.
 */

/**
 * Give a packed reading its tokens back as they are shown, in which nothing is hidden; `ids` tell which are the same.
 * @param {import("./types").PackedReading} packed a document of `pack_reading`
 * @returns {import("./types").Reading}
 */
export function unpack({ strings, shown, query_ids, ...packed }) {
  const text = (/** @type {number[]} */ ids) => ({ ids, tokens: ids.map((i) => shown[i]) });
  const samples = packed.samples.map((sample) => ({ ...sample, ...text(sample.tokens) }));
  const features = packed.features.map((column) => ({ ...column, values: column.values.map((i) => strings[i]) }));
  return { ...packed, query: { ...packed.query, ...text(query_ids) }, samples, features };
}
