/**
 * Above the rows of a reading: which are shown, what colours their tokens, where distances count, which columns there are.
 */

import { h, unique } from "./dom.js";
import { makeMenu } from "./menu.js";

const ORDERS = /** @type {[import("./cut.js").Order, string][]} */ ([["typical", "typical"], ["nearest", "nearest"], ["misses", "near misses"]]);

/**
 * @param {import("./types").Reading} reading
 * @param {{order: string, tint: string, columns: string[]}} shown
 * @param {{colored: boolean, measured: boolean, roles: string[] | null, update: (change: any) => void}} how
 */
export function makeControls(reading, shown, { colored, measured, roles, update }) {
  const id = unique("choice");
  const orders = ORDERS.map(([order, words]) => h("button", { type: "button", "data-order": order, on: { click: () => update({ order, sort: "" }) } }, words));
  const tint = h("select", { id: `${id}-tint`, on: { change: () => update({ tint: tint.value }) } },
    colored ? h("option", { value: "change" }, "what it changed") : null,
    measured ? h("option", { value: "distance" }, "distance at each token") : null,
    h("option", { value: "none" }, "nothing"));
  tint.value = shown.tint;
  const at = h("select", { id: `${id}-at`, on: { change: () => update({ at: at.value === "" ? null : Number(at.value) }) } },
    h("option", { value: "" }, reading.position_rule === "same" ? "the position read" : "each input’s best position"),
    reading.query.tokens.map((text, i) => h("option", { value: i }, `${i}: ${roles?.[i] ?? text}`)));
  const element = h("div", { class: "controls" },
    h("div", { class: "orders-of-rows", role: "group", "aria-label": "Which rows" }, orders),
    colored || measured ? h("label", { for: `${id}-tint` }, "colour by ", tint) : null,
    measured && reading.query.tokens.length <= 64 ? h("label", { for: `${id}-at` }, "distance at ", at) : null,
    reading.features.length ? columnsMenu(reading.features.map((feature) => feature.name), shown, update) : null);
  return {
    element,
    legend: colored ? legend(reading) : null,
    show() {
      for (const button of orders) button.setAttribute("aria-pressed", `${button.dataset.order === shown.order}`);
    },
  };
}

function columnsMenu(all, shown, update) {
  const boxes = all.map((name) => {
    const box = h("input", { type: "checkbox", on: { change: () => {
      const chosen = new Set(shown.columns);
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      update({ columns: all.filter((one) => chosen.has(one)) });
    } } });
    box.checked = shown.columns.includes(name);
    return h("label", {}, box, name);
  });
  return makeMenu("columns", h("div", { class: "menu-body" }, boxes));
}

function legend(reading) {
  const steps = Array.from({ length: 17 }, (_, i) => i - 8);
  const ramp = h("span", { class: "ramp", "aria-hidden": "true" },
    steps.map((step) => h("i", { class: step ? `${step > 0 ? "p" : "m"}${Math.abs(step)}` : "" })));
  return makeMenu(["lowered ", ramp, " raised"],
    h("div", { class: "menu-body text" }, h("p", {}, reading.colors_about), h("p", {}, "A frame marks the position that counts.")), "scale-menu");
}
