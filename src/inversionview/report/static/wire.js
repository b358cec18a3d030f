/**
 * Documents as they come from Python: see `report/wire.py`.
 */

import { patternOfEach } from "./patterns.js";

/**
 * Give a packed reading its tokens back as they are shown, in which nothing is hidden; `ids` tell which are the same.
 * @param {import("./types").PackedReading} document a document of `pack_reading`
 * @returns {import("./types").Reading}
 */
export function unpack(document) {
  const { strings, shown, query_ids, ...packed } = document;
  const patterns = patternOfEach(document);
  const text = (/** @type {number[]} */ ids) => ({ ids, tokens: ids.map((i) => shown[i]) });
  const samples = packed.samples.map((sample, i) => ({ ...sample, ...text(sample.tokens), pattern: patterns[i] }));
  const features = packed.features.map((column) => ({ ...column, values: column.values.map((i) => strings[i]) }));
  return { ...packed, query: { ...packed.query, ...text(query_ids) }, samples, features };
}
