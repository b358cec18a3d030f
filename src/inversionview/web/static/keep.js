/**
 * What is taken away: the address, files of the server, a picture.
 */

import { drawPicture, pngBlob, svgBlob } from "./report/picture.js";
import { h } from "./report/dom.js";
import { makeMenu } from "./report/menu.js";

/**
 * A menu of downloads for a shown reading.
 * @param {{key: () => string, view: () => any, name: () => string}} about
 */
export function makeKeep({ key, view, name }) {
  const said = h("span", { class: "hint", role: "status" });
  const link = (kind, words) => h("button", { type: "button", class: "menu-item", on: { click: () => fetched(kind) } }, words);
  const picture = () => {
    const { reading, shown, element } = view();
    return drawPicture(reading, shown.epsilon, getComputedStyle(element));
  };
  const menu = makeMenu(h("span", { class: "small" }, "Keep"), h("div", { class: "menu-body list" },
      h("button", { type: "button", class: "menu-item", on: { click: copy } }, "Copy the address"),
      link("json", "JSON, all of it"), link("parquet", "Parquet, a row a candidate"), link("html", "HTML, a page of its own"),
      h("button", { type: "button", class: "menu-item", on: { click: () => save(svgBlob(picture()), "svg") } }, "SVG picture"),
      h("button", { type: "button", class: "menu-item", on: { click: async () => save(await pngBlob(picture()), "png") } }, "PNG picture"),
      said), "keep");

  async function fetched(kind) {
    said.textContent = "asking…";
    try {
      const response = await fetch(`/api/results/${key()}.${kind}`);
      if (!response.ok) throw new Error((await response.json()).error);
      save(await response.blob(), kind);
    } catch (error) {
      said.textContent = error.message || "the server does not answer";
    }
  }

  function save(blob, kind) {
    const url = URL.createObjectURL(blob);
    const anchor = h("a", { href: url, download: `${name()}.${kind}` });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    said.textContent = `saved ${name()}.${kind}`;
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(location.href);
      said.textContent = "copied";
    } catch {
      said.textContent = "copy it from the browser’s address line";
    }
  }

  return menu;
}
