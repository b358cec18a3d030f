/**
 * The slider for epsilon, above a histogram of all candidates' distances: moving it cuts again and asks nobody.
 */

import { distanceOf } from "./cut.js";
import { fill, h, s, unique } from "./dom.js";
import { short } from "./words.js";

const BINS = 60;
const HEIGHT = 44;
const STEPS = 1000;

/**
 * @param {import("./types").Reading} reading unpacked
 * @param {{onMove: (epsilon: number) => void, onAsk: ((epsilon: number) => void) | null}} options
 */
export function makeEpsilon(reading, { onMove, onAsk }) {
  const range = rangeOf(reading);
  const id = unique("epsilon");
  const input = h("input", { type: "range", id, min: 0, max: STEPS, step: 1, class: "epsilon-range" });
  const out = h("output", { for: id, class: "epsilon-value" });
  const back = h("button", { type: "button", class: "small", hidden: true }, `back to ${short(reading.epsilon)}`);
  const ask = h("button", { type: "button", class: "small", hidden: true }, "estimate size and bits here");
  const chart = h("div", { class: "histogram" });
  const element = h("div", { class: "epsilon" },
    h("div", { class: "epsilon-line" }, h("label", { for: id }, "ε, the largest distance"), out, back, onAsk ? ask : null),
    h("div", { class: "epsilon-plot" }, chart, input, ticks(range)));
  let now = reading.epsilon;

  const stepOf = (epsilon) => Math.round(STEPS * placeOf(range, epsilon));

  function set(epsilon) {
    say(epsilon);
    input.value = `${stepOf(epsilon)}`;
  }

  function say(epsilon) {
    now = epsilon;
    const own = epsilon === reading.epsilon;
    input.setAttribute("aria-valuetext", `epsilon ${short(epsilon)}`);
    out.textContent = short(epsilon);
    back.hidden = own;
    ask.hidden = own;
  }

  input.addEventListener("input", () => {
    const step = Number(input.value);
    const exact = Math.min(range.high, epsilonAt(range, step / STEPS));
    const epsilon = step === stepOf(reading.epsilon) ? reading.epsilon : Number(exact.toPrecision(4));
    say(epsilon); // and leave the slider where it is: put back to a rounded place, it would never get past it
    draw();
    onMove(epsilon);
  });
  back.addEventListener("click", () => {
    set(reading.epsilon);
    draw();
    onMove(reading.epsilon);
    input.focus();
  });
  ask.addEventListener("click", () => onAsk?.(now));

  /** @type {number | null} */
  let fixedAt = null;
  function draw() {
    fill(chart, histogram(reading, range, now, fixedAt));
  }

  set(now);
  draw();
  return {
    element,
    set: (epsilon) => { set(epsilon); draw(); },
    /** @param {number | null} at a fixed position, or null */
    at: (at) => { fixedAt = at; draw(); },
  };
}

/** The least and largest epsilon of the slider. An exact reading holds nothing beyond its own. */
export function rangeOf(reading) {
  const high = reading.exact ? reading.epsilon : Math.max(10 * reading.epsilon, 2);
  return { low: reading.epsilon / 100, high: Number(high.toPrecision(3)) };
}

/** Where an epsilon stands between the ends, evenly in its logarithm: 0 to 1. */
export function placeOf({ low, high }, epsilon) {
  return Math.max(0, Math.min(1, Math.log(epsilon / low) / Math.log(high / low)));
}

/** The epsilon at a place. */
export function epsilonAt({ low, high }, place) {
  return low * (high / low) ** place;
}

function histogram(reading, range, epsilon, at) {
  const counts = new Array(BINS).fill(0);
  for (const sample of reading.samples) {
    const distance = distanceOf(sample, at);
    if (!sample.in_domain || distance === null || distance > range.high * 1.0001) continue;
    counts[Math.min(BINS - 1, Math.floor(BINS * placeOf(range, Math.max(distance, 1e-12))))] += 1;
  }
  const most = Math.max(1, ...counts);
  const edge = placeOf(range, epsilon);
  const bars = counts.map((n, i) => {
    if (!n) return null;
    const height = Math.max(1.5, HEIGHT * Math.sqrt(n / most));
    const within = (i + 0.5) / BINS <= edge;
    return s("rect", {
      x: i + 0.1, y: HEIGHT - height, width: 0.8, height, class: within ? "within" : "beyond",
    });
  });
  return s("svg", { viewBox: `0 0 ${BINS} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    bars, s("rect", { x: edge * BINS - 0.12, y: 0, width: 0.24, height: HEIGHT, class: "edge" }));
}

function ticks(range) {
  const marks = [];
  for (let power = Math.ceil(Math.log10(range.low) - 1e-9); 10 ** power <= range.high * 1.0001; power += 1) {
    const place = placeOf(range, 10 ** power);
    marks.push(h("span", { style: { left: `${100 * place}%` } }, short(10 ** power)));
  }
  return h("div", { class: "ticks", "aria-hidden": "true" }, marks);
}
