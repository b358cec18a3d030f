/**
 * The samples of a reading as a long table: members nearest first, the line, near misses, what is outside the domain.
 */

import { barScale, distanceOf, sharesOf } from "./cut.js";
import { makeDetail } from "./detail.js";
import { fill, h, unique } from "./dom.js";
import { layoutOf, tintOf, tokenCells } from "./tokens.js";
import { virtualList } from "./virtual.js";
import { count, distanceText, fixed, many, short, whole } from "./words.js";

/**
 * @typedef {{epsilon: number, groups: import("./cut.js").Groups, inside: number, at: number | null, tint: import("./tokens.js").Tint,
 *   columns: string[], sort: string}} Shown
 */

/**
 * @param {import("./types").Reading} reading unpacked
 * @param {{roles: string[] | null, onSort: (column: string) => void}} options
 */
export function makeMembers(reading, { roles, onSort }) {
  const layout = layoutOf(reading);
  const stem = unique("rows");
  const head = h("div", { class: "head", role: "rowgroup" });
  const scroller = h("div", {
    class: `table ${layout.grid ? "grid" : "context"}`, role: "grid", tabindex: "0",
    "aria-label": "Candidates, nearest first. Arrow keys go from row to row and from token to token.",
  }, head);
  const detail = makeDetail({ reading, roles });
  const element = h("div", { class: "members" }, scroller, detail.element);
  const counted = !reading.exact;
  const scored = reading.samples.some((sample) => sample.log_prob !== null);
  /** @type {Shown} */
  let now;
  /** @type {{kind: string, i?: number, words?: any}[]} */
  let items = [];
  let scale = 1;
  let current = -1;
  let token = -1;
  let ordered = "";

  const list = virtualList(scroller, { rowHeight, draw, head });

  function rowHeight() {
    return Number.parseFloat(getComputedStyle(scroller).getPropertyValue("--row")) || 26;
  }

  /** @param {Shown} shown */
  function show(shown) {
    now = shown;
    scale = barScale(reading, shown.epsilon, shown.at);
    items = itemsOf(reading, shown);
    current = -1;
    const features = shown.columns.map(() => "var(--feature)").join(" ");
    const extra = `${counted ? " var(--number)" : ""}${scored ? " var(--number)" : ""}`;
    scroller.style.setProperty("--cols", `var(--distance) var(--bar-width) ${layout.template} ${features}${extra}`);
    scroller.style.setProperty("--mark", `${(100 * shown.epsilon) / scale}%`);
    scroller.setAttribute("aria-rowcount", `${items.length + 2}`);
    scroller.removeAttribute("aria-activedescendant");
    fill(head, header(), query(), shares());
    detail.clear("Point at a row, or go through the table with the arrow keys, to see the distance at every token.");
    list.show(items.length);
    if (ordered !== `${shown.sort} ${shown.at}`) scroller.scrollTop = 0;
    ordered = `${shown.sort} ${shown.at}`;
  }

  function header() {
    const cell = (sign, words) => h("span", { class: "label mid", role: "columnheader" },
      sign, h("span", { class: "unseen" }, words));
    const tokens = layout.grid
      ? Array.from({ length: layout.columns }, (_, i) => cell(i === reading.query.position ? "▾" : "", `token ${i}`))
      : [cell("", "before"), cell("▾", "the position that counts"), cell("", "after")];
    const features = now.columns.map((name) => {
      const sorted = now.sort === name;
      return h("span", { class: "label feature", role: "columnheader", "aria-sort": sorted ? "ascending" : "none" },
        h("button", { type: "button", tabindex: "-1", title: `sort by ${name}`, on: { click: () => onSort(name) } },
          name, sorted ? " ▴" : ""));
    });
    const back = h("button", { type: "button", tabindex: "-1", title: "sort by distance", on: { click: () => onSort("") } },
      `distance${now.sort ? "" : " ▴"}`);
    return h("div", { class: "row labels", role: "row" },
      h("span", { class: "label number", role: "columnheader", "aria-sort": now.sort ? "none" : "ascending" }, back),
      h("span", { class: "label axis", role: "columnheader" }, h("span", {}, h("i", {}, "ε"))),
      tokens, features,
      counted ? h("span", { class: "label number", role: "columnheader", title: "how many times it was drawn" }, "drawn") : null,
      scored ? h("span", {
        class: "label number", role: "columnheader", title: "log-probability under the decoder at temperature 1, in nats",
      }, "log q") : null);
  }

  function query() {
    const values = new Map((reading.features ?? []).map((feature) => [feature.name, feature.query ?? ""]));
    return h("div", { class: "row query", role: "row" },
      h("span", { class: "span-two", role: "rowheader" }, "the query"),
      tokenCells(layout, reading.query, () => "", "gridcell"),
      now.columns.map((name) => h("span", { class: "feature", role: "gridcell" }, values.get(name) ?? "")));
  }

  function shares() {
    const own = now.at === null && now.epsilon === reading.epsilon;
    const shared = layout.grid ? sharesOf(reading, now.groups, own) : null;
    if (!shared) return null;
    const of = own && reading.shares ? `all ${count(now.inside)} members` : `${many(now.groups.members.length, "member")} listed`;
    return h("div", { class: "row shares", role: "row" },
      h("span", { class: "span-two", role: "rowheader" }, "same in members"),
      shared.map((share, i) => h("span", { class: "share", role: "gridcell", title: `${whole(share)} of ${of} have ${reading.query.tokens[i]} here` },
        h("i", { style: { height: `${100 * share}%` } }), h("span", { class: "unseen" }, whole(share)))));
  }

  function draw(index) {
    const item = items[index];
    const id = `${stem}-${index}`;
    const { i } = item;
    if (i === undefined) {
      return h("div", { class: `row ${item.kind}`, role: "row", id }, h("span", { role: "gridcell", class: "wide" }, item.words));
    }
    const sample = reading.samples[i];
    const distance = distanceOf(sample, now.at);
    const features = now.columns.map((name) => {
      const column = reading.features.find((feature) => feature.name === name);
      return h("span", { class: "feature", role: "gridcell" }, column ? column.values[i] : "");
    });
    const row = h("div", {
      class: `row sample ${item.kind}${index === current ? " current" : ""}`, role: "row", id, "data-row": index,
    },
      h("span", { class: "number", role: "gridcell", title: distance === null ? null : short(distance) },
        distanceText(distance, now.epsilon)),
      h("span", { class: "bar", role: "gridcell" }, bar(distance)),
      tokenCells(layout, sample, tintOf(sample, now.tint), "gridcell"),
      features,
      counted ? h("span", { class: "number quiet", role: "gridcell" }, count(sample.count)) : null,
      scored ? h("span", { class: "number quiet", role: "gridcell" }, sample.log_prob === null ? "" : fixed(sample.log_prob, 1)) : null);
    if (index === current) row.querySelector(`[data-i="${token}"]`)?.classList.add("chosen");
    return row;
  }

  function bar(distance) {
    if (distance === null) return null;
    const far = distance > scale;
    return h("i", { class: far ? "far" : "", style: { width: `${100 * Math.min(1, distance / scale)}%` } });
  }

  function choose(index, i) {
    const previous = current;
    current = index;
    token = i;
    if (previous >= 0) list.again(previous);
    list.reach(index);
    list.again(index);
    scroller.setAttribute("aria-activedescendant", `${stem}-${index}`);
    const item = items[index];
    if (item.i === undefined) return;
    detail.show(item.i);
    detail.say(item.i, token);
  }

  scroller.addEventListener("keydown", (event) => {
    const last = items.length - 1;
    const item = items[current];
    const tokens = item?.i === undefined ? 0 : reading.samples[item.i].tokens.length;
    const to = {
      ArrowDown: [Math.min(last, current + 1), token], ArrowUp: [Math.max(0, current - 1), token],
      PageDown: [Math.min(last, current + list.page()), token], PageUp: [Math.max(0, current - list.page()), token],
      Home: [0, token], End: [last, token],
      ArrowRight: [Math.max(0, current), Math.min(tokens - 1, token + 1)],
      ArrowLeft: [Math.max(0, current), Math.max(0, token - 1)],
    }[event.key];
    if (!to || event.altKey || event.ctrlKey || event.metaKey || last < 0) return;
    event.preventDefault();
    choose(to[0], to[1]);
  });

  scroller.addEventListener("pointermove", (event) => {
    const row = event.target.closest?.("[data-row]");
    if (!row) return;
    const item = items[Number(row.dataset.row)];
    if (item?.i === undefined) return;
    if (layout.grid) detail.show(item.i);
    const at = event.target.closest("[data-i]");
    if (at) detail.say(item.i, Number(at.dataset.i));
  });

  scroller.addEventListener("click", (event) => {
    const row = event.target.closest?.("[data-row]");
    if (row) choose(Number(row.dataset.row), Number(event.target.closest("[data-i]")?.dataset.i ?? -1));
  });

  detail.element.addEventListener("pointermove", (event) => {
    const at = event.target.closest?.("[data-i]");
    if (at && detail.shown() >= 0) detail.say(detail.shown(), Number(at.dataset.i));
  });

  return { element, show, stop: list.stop, layout };
}

/**
 * The rows of the table, in order; those without `i` are words between them.
 * @param {import("./types").Reading} reading
 * @param {{groups: import("./cut.js").Groups, inside: number, epsilon: number}} shown
 */
export function itemsOf(reading, { groups, inside, epsilon }) {
  const rows = (kind) => (i) => ({ kind, i });
  const hidden = inside - groups.members.length;
  const above = inside ? `members above${hidden > 0 ? ` (${count(hidden)} more not listed)` : ""}` : "no member was found";
  const below = groups.near.length ? ", near misses below" : "";
  const line = { kind: "divider", words: [h("b", {}, `ε = ${short(epsilon)}`), " ", `${above}${below}`] };
  const outside = groups.outside.length
    ? [{ kind: "between", words: `Not in the domain: ${many(groups.outside.length, "candidate")}, never members, however near` }]
    : [];
  return [
    ...groups.members.map(rows("member")), line, ...groups.near.map(rows("miss")), ...outside,
    ...groups.outside.map(rows("miss outside")),
  ];
}
