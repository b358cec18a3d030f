/**
 * Which samples are members at an epsilon: computed here, because a slider must not ask anybody.
 */

import { many, short } from "./words.js";

/**
 * @typedef {import("./types").Sample} Sample
 * @typedef {{members: number[], near: number[], outside: number[]}} Groups indexes of samples
 */

/**
 * The distance of a sample where the reading found it, or at one fixed position.
 * @param {Sample} sample
 * @param {number | null} at
 */
export function distanceOf(sample, at) {
  return at === null ? sample.distance : (sample.token_distances?.[at] ?? null);
}

/**
 * Part the samples into members, near misses and those outside the domain, nearest first; ties keep their order.
 * @param {import("./types").Reading} reading
 * @param {number} epsilon
 * @param {number | null} [at] a fixed position
 * @param {((i: number) => string) | null} [by] sort by this text first
 * @returns {Groups}
 */
export function cut(reading, epsilon, at = null, by = null) {
  /** @type {Groups} */
  const groups = { members: [], near: [], outside: [] };
  reading.samples.forEach((sample, i) => {
    const distance = distanceOf(sample, at);
    if (!sample.in_domain) groups.outside.push(i);
    else if (distance !== null && distance <= epsilon) groups.members.push(i);
    else groups.near.push(i);
  });
  const far = (i) => distanceOf(reading.samples[i], at) ?? Infinity;
  const apart = (i, j) => (far(i) === far(j) ? i - j : far(i) - far(j));
  const compare = by ? (i, j) => by(i).localeCompare(by(j), "en", { numeric: true }) || apart(i, j) : apart;
  for (const group of Object.values(groups)) group.sort(compare);
  return groups;
}

/**
 * How many members there are at an epsilon: all of them where the reading's own is asked for, though not all be listed.
 * @param {import("./types").Reading} reading
 * @param {Groups} groups
 * @param {number} epsilon
 * @param {number | null} at
 */
export function inside(reading, groups, epsilon, at) {
  return at === null && epsilon === reading.epsilon ? reading.counts.inside : groups.members.length;
}

/**
 * What the reading says of itself; elsewhere, how many of the inputs that are listed are inside.
 * @param {import("./types").Reading} reading
 * @param {{epsilon: number, at: number | null}} shown
 * @param {number} n inside
 */
export function headlineOf(reading, { epsilon, at }, n) {
  if (epsilon === reading.epsilon && at === null) return reading.words.heading;
  return `${many(n, "input")} of those listed inside ε = ${short(epsilon)}`;
}

/**
 * For each token of the query, the share of members that have it there; null where there are no members.
 * @param {import("./types").Reading} reading
 * @param {Groups} groups
 * @param {boolean} own whether the groups are at the reading's own epsilon
 * @returns {number[] | null}
 */
export function sharesOf(reading, groups, own) {
  if (!groups.members.length) return null;
  if (own && reading.shares) return reading.shares;
  return reading.query.ids.map((id, i) => {
    const same = groups.members.filter((m) => reading.samples[m].ids[i] === id).length;
    return same / groups.members.length;
  });
}

/**
 * The distance at which bars end: at the farthest row, but at 1.25 to 2 times epsilon.
 * @param {import("./types").Reading} reading
 * @param {number} epsilon
 * @param {number | null} at
 */
export function barScale(reading, epsilon, at) {
  let farthest = 0;
  for (const sample of reading.samples) farthest = Math.max(farthest, distanceOf(sample, at) ?? 0);
  return Math.max(1.25 * epsilon, Math.min(farthest, 2 * epsilon));
}
