/**
 * A long list of which only the rows to be seen are in the page.
 */

import { framed, h } from "./dom.js";

const SPARE = 6; // rows beyond each end, so that a quick scroll shows no blank

/**
 * @param {HTMLElement} scroller has a height and scrolls; a sticky head may come before the list
 * @param {{rowHeight: () => number, draw: (i: number) => HTMLElement, head?: HTMLElement}} how
 */
export function virtualList(scroller, { rowHeight, draw, head }) {
  const body = h("div", { class: "rows", role: "rowgroup" });
  scroller.append(body);
  let total = 0;
  /** @type {Map<number, HTMLElement>} */
  const drawn = new Map();

  function update() {
    const height = rowHeight();
    const top = scroller.scrollTop - (head ? 0 : body.offsetTop);
    const first = Math.max(0, Math.floor(top / height) - SPARE);
    const last = Math.min(total, Math.ceil((top + scroller.clientHeight) / height) + SPARE);
    for (const [i, row] of drawn) {
      if (i < first || i >= last) {
        row.remove();
        drawn.delete(i);
      }
    }
    for (let i = first; i < last; i += 1) {
      if (drawn.has(i)) continue;
      const row = draw(i);
      row.style.setProperty("transform", `translateY(${i * height}px)`);
      row.setAttribute("aria-rowindex", `${i + 2}`);
      drawn.set(i, row);
      // in the order of the list, for those who do not see where a row stands
      body.insertBefore(row, nextOf(i));
    }
  }

  function nextOf(i) {
    let next = null;
    let least = Infinity;
    for (const [j, row] of drawn) {
      if (j > i && j < least) [next, least] = [row, j];
    }
    return next;
  }

  const later = framed(update);
  scroller.addEventListener("scroll", later, { passive: true });
  const watch = new ResizeObserver(() => redraw());
  watch.observe(scroller);

  function redraw() {
    body.style.setProperty("height", `${total * rowHeight()}px`);
    for (const row of drawn.values()) row.remove();
    drawn.clear();
    update();
  }

  return {
    /** @param {number} n */
    show(n) {
      total = n;
      redraw();
    },
    /** Draw one row again. @param {number} i */
    again(i) {
      drawn.get(i)?.remove();
      drawn.delete(i);
      update();
    },
    /** Bring a row into view. @param {number} i */
    reach(i) {
      const height = rowHeight();
      const covered = head ? head.offsetHeight : 0;
      const top = i * height;
      const room = scroller.clientHeight - covered - height;
      if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (top > scroller.scrollTop + room) scroller.scrollTop = top - room;
      update();
    },
    /** @param {number} i @returns {HTMLElement | undefined} */
    row: (i) => drawn.get(i),
    /** Rows of a screenful. */
    page: () => Math.max(1, Math.floor((scroller.clientHeight - (head ? head.offsetHeight : 0)) / rowHeight()) - 1),
    stop: () => watch.disconnect(),
  };
}
