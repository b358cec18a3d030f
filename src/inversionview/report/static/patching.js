/**
 * What patching did to the logit difference: a table for each order, with how far every effect has moved.
 */

import { fill, h } from "./dom.js";
import { drawTable, drawTerms } from "./table.js";

/**
 * @param {HTMLElement} root
 * @param {import("./types").PackedPatching} packed a document of `pack_patching`
 */
export function mountPatching(root, { words }) {
  fill(root, h("article", { class: "live patching-view" },
    h("h2", {}, words.heading), words.sentences.map((sentence) => h("p", {}, sentence)),
    h("div", { class: "orders" }, Object.values(words.tables).map(drawTable)),
    drawTerms(words.settings),
    h("div", { class: "notes" }, words.notes.map((note) => h("p", {}, note)))));
}
