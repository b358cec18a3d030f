/**
 * One sample in full: at each token what the activation changed, and how far the activation there is from the query's.
 */

import { fill, h } from "./dom.js";
import { changeClass } from "./scale.js";
import { distanceText, fixed, many, short, signed } from "./words.js";

const COLUMNS = 26; // longer inputs are shown as running text

/**
 * @param {{reading: import("./types").Reading, roles: string[] | null}} about
 */
export function makeDetail({ reading, roles }) {
  const title = h("p", { class: "detail-title" });
  const body = h("div", { class: "detail-body" });
  const note = h("p", { class: "detail-note", role: "status" });
  const element = h("div", { class: "detail" }, title, body, note);
  let shown = -1;
  let now = "";

  /** @param {number} index @param {boolean} [asked] whether a reader chose it, and so may want to know all of it */
  function show(index, asked = true) {
    if (`${index} ${asked}` === now) return;
    now = `${index} ${asked}`;
    shown = index;
    const sample = reading.samples[index];
    const what = h("b", {}, "this candidate");
    const drawn = reading.exact || !asked ? "" : ` · drawn ${many(sample.count, "time")}${sample.log_prob === null ? "" : `, log q ${fixed(sample.log_prob, 1)}`}`;
    if (sample.token_distances) fill(title, "Distance at every token of ", what, ": how far the activation there is from the query’s", drawn);
    else fill(title, "The whole of ", what, "; distances were measured only at the position that counts", drawn);
    const short = sample.tokens.length <= COLUMNS;
    body.className = short ? "detail-body" : "detail-body running";
    fill(body, short ? bars(sample, reading.epsilon) : running(sample));
    fill(note);
  }

  function say(index, i) {
    const sample = reading.samples[index];
    if (sample && i >= 0 && i < sample.tokens.length) fill(note, factsOf(sample, i, roles));
  }

  function clear(words) {
    shown = -1;
    now = "";
    fill(title, words);
    fill(body);
    fill(note);
  }

  return { element, show, say, clear, shown: () => shown };
}

/** What is known of one token, in words. */
export function factsOf(sample, i, roles) {
  const at = roles?.[i] && roles[i] !== `${i}` ? `${roles[i]}, index ${i}` : `index ${i}`;
  const facts = [`“${sample.tokens[i]}” at ${at}`];
  if (sample.colors?.[i] !== undefined) facts.push(`change ${signed(sample.colors[i])}`);
  const distance = sample.token_distances?.[i];
  if (distance !== null && distance !== undefined) facts.push(`distance here ${short(distance)}`);
  if (i === sample.position) facts.push("the position that counts");
  return facts.join(" · ");
}

function bars(sample, epsilon) {
  const columns = sample.tokens.map((text, i) => {
    const distance = sample.token_distances?.[i] ?? null;
    const bar = h("i", {});
    if (distance !== null) bar.style.setProperty("height", `${100 * Math.min(1, distance / 1.5)}%`);
    const near = distance !== null && distance <= epsilon;
    return h("span", { class: `column${near ? " near" : ""}`, "data-i": i },
      h("span", { class: "well" }, distance === null ? null : bar),
      h("span", { class: `tok ${changeClass(sample.colors?.[i])}${i === sample.position ? " here" : ""}` },
        text),
      h("small", {}, distance === null ? "" : distanceText(distance, 0.5).replace(/^0\./, ".").slice(0, 4)));
  });
  return h("div", { class: "columns" }, columns);
}

function running(sample) {
  return sample.tokens.map((text, i) => [
    /^[·↵⇥]/.test(text) ? h("wbr") : null, // a line can only break where the text had a space
    h("span", {
      class: `tok ${changeClass(sample.colors?.[i])}${i === sample.position ? " here" : ""}`,
      "data-i": i,
    }, text),
  ]);
}
