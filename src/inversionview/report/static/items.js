/**
 * Which rows the table of a reading has, and in which order.
 */

import { typicalOrder } from "./cut.js";
import { h } from "./dom.js";
import { count, many } from "./words.js";

/**
 * The rows of the table, in order; those without `i` are words between them.
 * @param {import("./types").Reading} reading
 * @param {Pick<import("./members.js").Shown, "groups" | "inside" | "order" | "sort" | "pattern">} shown
 */
export function itemsOf(reading, { groups, inside, order, sort, pattern }) {
  const rows = (kind) => (i) => ({ kind, i });
  const none = { kind: "divider", words: h("b", {}, "no member was found") };
  if (order === "misses") {
    const outside = groups.outside.length
      ? [{ kind: "between", words: `Not in the domain: ${many(groups.outside.length, "candidate")}, never members, however near` }]
      : [];
    return [...(inside ? [] : [none]), ...groups.near.map(rows("miss")), ...outside, ...groups.outside.map(rows("miss outside"))];
  }
  if (!inside) return [none];
  const members = order === "typical" && !sort ? typicalOrder(reading, groups.members) : groups.members;
  const shown = pattern === null ? members : members.filter((i) => reading.samples[i].pattern === pattern);
  const hidden = inside - groups.members.length;
  const more = hidden > 0 && pattern === null ? [{ kind: "between", words: `${count(hidden)} more members are not listed` }] : [];
  return [...shown.map(rows("member")), ...more];
}
