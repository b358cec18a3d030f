/**
 * Which samples are members at an epsilon, and in which order: computed here, because a slider must not ask anybody.
 */

/**
 * @typedef {import("./types").Sample} Sample
 * @typedef {{members: number[], near: number[], outside: number[]}} Groups indexes of samples
 * @typedef {"typical" | "nearest" | "misses"} Order which rows are shown, and how they are ordered
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
 * Whether it is known how much each of these members counts; Python weighs those of the reading's own epsilon.
 * @param {import("./types").Reading} reading
 * @param {number[]} members
 */
export function weighed(reading, members) {
  return reading.weighted && members.every((i) => reading.samples[i].inside);
}

/**
 * Members in the order in which draws by weight come to them: Python's order, or in any order where there is none for all.
 * @param {import("./types").Reading} reading
 * @param {number[]} members
 */
export function typicalOrder(reading, members) {
  const place = new Map(reading.typical.map((i, k) => [i, k]));
  const known = members.every((i) => place.has(i));
  const key = (i) => (known ? (place.get(i) ?? 0) : chance(i));
  return [...members].sort((i, j) => key(i) - key(j));
}

/** A number in (0, 1) that looks random: the finalizer of MurmurHash3. @param {number} i */
function chance(i) {
  let x = Math.imul((i + 1) ^ ((i + 1) >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (((x ^ (x >>> 16)) >>> 0) + 0.5) / 2 ** 32;
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
 * For each token of the query, the share by weight of members that have it there; null where there are no members.
 * @param {import("./types").Reading} reading
 * @param {Groups} groups
 * @param {boolean} own whether the groups are at the reading's own epsilon
 * @returns {number[] | null}
 */
export function sharesOf(reading, { members }, own) {
  if (!members.length) return null;
  if (own && reading.shares) return reading.shares;
  const by = weighed(reading, members);
  const sum = (some) => some.reduce((total, m) => total + (by ? (reading.samples[m].weight ?? 0) : 1), 0);
  const all = sum(members) || 1;
  return reading.query.ids.map((id, i) => sum(members.filter((m) => reading.samples[m].ids[i] === id)) / all);
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
