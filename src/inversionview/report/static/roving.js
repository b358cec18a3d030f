/**
 * One tab stop for many buttons: arrow keys go from one to the next, in rows and columns where there are any.
 */

/**
 * @param {HTMLElement} box holds the buttons
 * @param {{columns?: () => number}} [how] `columns`: buttons of a row, for up and down; without it all in one line
 */
export function roving(box, { columns } = {}) {
  const buttons = () => /** @type {HTMLElement[]} */ ([...box.querySelectorAll("[data-rove]")]);

  function only(chosen) {
    for (const button of buttons()) button.tabIndex = button === chosen ? 0 : -1;
  }

  box.addEventListener("keydown", (event) => {
    const all = buttons();
    const from = all.indexOf(/** @type {HTMLElement} */ (event.target));
    if (from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = columns ? inGrid(all, from, event.key, columns()) : inLine(all, from, event.key);
    if (to === null) return;
    event.preventDefault();
    only(to);
    to.focus();
  });
  box.addEventListener("focusin", (event) => {
    if (/** @type {HTMLElement} */ (event.target).dataset?.rove !== undefined) only(event.target);
  });

  return {
    /** The button that Tab reaches: the chosen one, or the first. */
    reset() {
      const all = buttons();
      only(all.find((button) => button.getAttribute("aria-pressed") === "true") ?? all[0]);
    },
  };
}

function inLine(all, from, key) {
  const to = { ArrowRight: from + 1, ArrowDown: from + 1, ArrowLeft: from - 1, ArrowUp: from - 1, Home: 0, End: all.length - 1 }[key];
  return to === undefined ? null : (all[Math.max(0, Math.min(all.length - 1, to))] ?? null);
}

function inGrid(all, from, key, columns) {
  if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) return inLine(all, from, key);
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const place = Number(all[from].dataset.rove);
  const down = key === "ArrowDown";
  const rows = all.filter((button) => {
    const row = Math.floor(Number(button.dataset.rove) / columns);
    return down ? row > Math.floor(place / columns) : row < Math.floor(place / columns);
  });
  if (!rows.length) return null;
  const row = Math.floor(Number(rows[down ? 0 : rows.length - 1].dataset.rove) / columns);
  const near = (button) => Math.abs((Number(button.dataset.rove) % columns) - (place % columns));
  return rows.filter((button) => Math.floor(Number(button.dataset.rove) / columns) === row)
    .reduce((best, button) => (near(button) < near(best) ? button : best));
}
