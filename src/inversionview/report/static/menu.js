/**
 * A menu that closes on Escape and on whatever is pressed beside it.
 */

import { h } from "./dom.js";

/**
 * @param {any} summary what opens it
 * @param {any} body
 * @param {string} [names] of classes
 */
export function makeMenu(summary, body, names = "") {
  const head = h("summary", {}, summary);
  const menu = h("details", { class: `menu ${names}` }, head, body);
  const beside = (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  };
  const escape = (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    head.focus();
  };
  menu.addEventListener("toggle", () => {
    const listen = menu.open ? document.addEventListener : document.removeEventListener;
    listen.call(document, "pointerdown", beside);
    listen.call(document, "keydown", escape);
  });
  return menu;
}
