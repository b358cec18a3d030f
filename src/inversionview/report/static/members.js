/**
 * The samples of a reading as a long table: members as draws by weight come to them, or nearest first, or near misses.
 */

import { barScale, distanceOf, sharesOf, weighed } from "./cut.js";
import { makeDetail } from "./detail.js";
import { fill, h, unique } from "./dom.js";
import { itemsOf } from "./items.js";
import { commonRuns, layoutOf, textCell, tintOf, tokenCells } from "./tokens.js";
import { virtualList } from "./virtual.js";
import { distanceText, many, short, whole, width } from "./words.js";

const CHARACTER = 8.5; // pixels of a character of a row
const BESIDE = 14; // of what is between features and text
const LINE = 20;
const MOST_LINES = 3;
const RAGGED = 6; // characters that a line loses where it breaks between words
const WIDEST = 16; // characters of a feature's column

/**
 * @typedef {{epsilon: number, groups: import("./cut.js").Groups, inside: number, at: number | null, tint: import("./tokens.js").Tint,
 *   columns: string[], keys: string[], sort: string, order: import("./cut.js").Order, pattern: number | null}} Shown
 */

/**
 * @param {import("./types").Reading} reading unpacked
 * @param {{roles: string[] | null, onSort: (column: string) => void, onOrder: (order: import("./cut.js").Order) => void}} options
 */
export function makeMembers(reading, { roles, onSort, onOrder }) {
  const layout = layoutOf(reading);
  const stem = unique("rows");
  const head = h("div", { class: "head", role: "rowgroup" });
  const scroller = h("div", {
    class: `table ${layout.grid ? "grid" : "context"}`, role: "grid", tabindex: "0",
    "aria-label": "Candidates. Arrow keys go from row to row and from token to token.",
  }, head);
  const detail = makeDetail({ reading, roles });
  const element = h("div", { class: "members" }, scroller, detail.element);
  const columnOf = new Map(reading.features.map((feature) => [feature.name, feature]));
  const differ = reading.samples.some((sample) => sample.differs);
  /** @type {Shown} */
  let now;
  /** @type {{kind: string, i?: number, words?: any}[]} */
  let items = [];
  let folded = commonRuns(reading, []);
  let scale = 1;
  let lines = 1;
  let room = 90; // characters of text in a row
  let current = -1;
  let token = -1;
  let ordered = "";

  const list = virtualList(scroller, { rowHeight, draw, head });

  function rowHeight() {
    if (layout.grid) return Number.parseFloat(getComputedStyle(scroller).getPropertyValue("--row")) || 26;
    const across = (head.querySelector(".text-head")?.clientWidth ?? 0) - BESIDE;
    const most = Math.max(20, Math.floor(across / CHARACTER));
    const longest = Math.max(...items.slice(0, 60).map(({ i }) => (i === undefined ? 0 : width(reading.samples[i].tokens.join("")))), 0);
    lines = Math.max(1, Math.min(MOST_LINES, Math.ceil(longest / (most - RAGGED))));
    room = lines * (most - RAGGED);
    const height = LINE * lines + 10;
    scroller.style.setProperty("--row", `${height}px`);
    return height;
  }

  /** @param {Shown} shown */
  function show(shown) {
    now = shown;
    scale = barScale(reading, shown.epsilon, shown.at);
    items = itemsOf(reading, shown);
    current = -1;
    if (!layout.grid) folded = commonRuns(reading, shown.groups.members);
    const features = shown.columns.map((name) => `minmax(${layout.grid ? widest(name) : 5}ch, calc(${widest(name)}ch + 20px))`).join(" ");
    const cells = layout.grid ? `${layout.template} ${features}` : `${features} ${layout.template}`;
    scroller.style.setProperty("--cols", `var(--distance) var(--bar-width) ${cells}${differs() ? " minmax(16ch, max-content)" : ""}`);
    scroller.style.setProperty("--mark", `${(100 * shown.epsilon) / scale}%`);
    scroller.setAttribute("aria-rowcount", `${items.length + 2}`);
    scroller.removeAttribute("aria-activedescendant");
    fill(head, header());
    rowHeight(); // which says how much of the query there is room for
    fill(head, header(), query(), shares());
    const first = items.find((item) => item.i !== undefined)?.i;
    if (first === undefined) detail.clear("");
    else detail.show(first, false);
    list.show(items.length);
    const order = `${shown.order} ${shown.sort} ${shown.at} ${shown.pattern}`;
    if (ordered !== order) scroller.scrollTop = 0;
    ordered = order;
  }

  function widest(name) {
    const values = columnOf.get(name)?.values ?? [];
    return Math.min(WIDEST, Math.max(width(name), ...values.map(width)));
  }

  function differs() {
    return differ && now.order === "misses";
  }

  /** Cells of tokens and of features: tokens first where they have columns, else the features, which are short. */
  function inOrder(tokens, features) {
    return layout.grid ? [tokens, features] : [features, tokens];
  }

  function header() {
    const cell = (sign, words, names = "mid") => h("span", { class: `label ${names}`, role: "columnheader" },
      sign, h("span", { class: "unseen" }, words));
    const tokens = layout.grid
      ? Array.from({ length: layout.columns }, (_, i) => cell(i === reading.query.position ? "▾" : "", `token ${i}`))
      : cell("", "text", "text-head");
    const features = now.columns.map((name) => {
      const sorted = now.sort === name;
      return h("span", { class: "label feature", role: "columnheader", "aria-sort": sorted ? "ascending" : "none" },
        h("button", { type: "button", tabindex: "-1", title: `sort by ${name}`, on: { click: () => onSort(name) } },
          name, sorted ? " ▴" : ""));
    });
    const near = now.order !== "typical" && !now.sort;
    const back = h("button", { type: "button", tabindex: "-1", title: "nearest first", on: { click: () => onOrder(now.order === "misses" ? "misses" : "nearest") } },
      `distance${near ? " ▴" : ""}`);
    return h("div", { class: "row labels", role: "row" },
      h("span", { class: "label number", role: "columnheader", "aria-sort": near ? "ascending" : "none" }, back),
      h("span", { class: "label axis", role: "columnheader" }, h("span", {}, h("i", {}, "ε"))),
      inOrder(tokens, features),
      differs() ? h("span", { class: "label", role: "columnheader" }, "what differs") : null);
  }

  function query() {
    const features = now.columns.map((name) => h("span", { class: "feature", role: "gridcell" }, columnOf.get(name)?.query ?? ""));
    return h("div", { class: "row query", role: "row" },
      h("span", { class: "span-two", role: "rowheader" }, "the query"),
      inOrder(cellsOf(reading.query, () => "", "gridcell", keysOf((name) => columnOf.get(name)?.query)), features));
  }

  function cellsOf(line, tint, role, keys) {
    return layout.grid ? tokenCells(layout, line, tint, role) : textCell(line, tint, { role, room, folded: folded(line), keys });
  }

  /** What the best features of one input are called: the tokens that must not be left out. */
  function keysOf(valueOf) {
    return new Set(now.keys.map(valueOf).filter(Boolean));
  }

  function shares() {
    const own = now.at === null && now.epsilon === reading.epsilon;
    const shared = layout.grid ? sharesOf(reading, now.groups, own) : null;
    if (!shared) return null;
    const of = own && reading.shares ? `all ${many(now.inside, "member")}` : `${many(now.groups.members.length, "member")} listed`;
    const weight = weighed(reading, now.groups.members) ? ", by weight" : "";
    return h("div", { class: "row shares", role: "row" },
      h("span", { class: "span-two", role: "rowheader" }, "same in members"),
      shared.map((share, i) => h("span", { class: "share", role: "gridcell", title: `${whole(share)} of ${of} have ${reading.query.tokens[i]} here${weight}` },
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
    const features = now.columns.map((name) => h("span", { class: "feature", role: "gridcell" }, columnOf.get(name)?.values[i] ?? ""));
    const row = h("div", {
      class: `row sample ${item.kind}${index === current ? " current" : ""}`, role: "row", id, "data-row": index,
    },
      h("span", { class: "number", role: "gridcell", title: distance === null ? null : short(distance) },
        distanceText(distance, now.epsilon)),
      h("span", { class: "bar", role: "gridcell" }, bar(distance)),
      inOrder(cellsOf(sample, tintOf(sample, now.tint), "gridcell", keysOf((name) => columnOf.get(name)?.values[i])), features),
      differs() ? h("span", { class: "differs", role: "gridcell" }, sample.differs) : null);
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
