/**
 * Features with their bits, for those who compare readings or make hypotheses of them.
 */

import { shareKnown } from "./scale.js";

/**
 * @typedef {{name: string, share: number, bits: number, of: number, kind: string, value: string}} Feature
 * `kind`: known, partly, little, or nothing
 */

/**
 * The features of a reading with their bits, most bits first.
 * @param {import("./types").Reading | import("./types").PackedReading} reading
 * @returns {Feature[]}
 */
export function featuresByBits(reading) {
  /** @type {Map<string, string>} */
  const values = new Map();
  for (const feature of reading.features) values.set(feature.name, feature.query ?? "");
  const rows = reading.words.tables.bits.rows;
  return [...(reading.bits ?? [])].sort((a, b) => b.bits - a.bits).map(({ name, bits, of }, i) => ({
    name, bits, of, share: shareKnown(bits, of), kind: rows[i].kind, value: values.get(name) ?? "",
  }));
}

/** The features that are known fully or partly, to be shown beside text. @param {import("./types").Reading} reading */
export function bestKnown(reading) {
  return featuresByBits(reading).filter((one) => one.kind === "known" || one.kind === "partly").map((one) => one.name);
}
