/**
 * What a reading says, the answer first. All words come from `report/answer.py`; here they get their places and bars.
 */

import { h } from "./dom.js";
import { printed } from "./words.js";

const LONG = 32; // characters

/**
 * A rule in words, what is known, partly known, little known and not, and the members by what they share.
 * @param {import("./types").Reading} reading
 * @param {(pattern: number | null) => void} onPattern
 * @param {boolean} [partial] more is to come
 */
export function drawAnswer(reading, onPattern, partial = false) {
  const { answer } = reading.words;
  const later = partial && !answer.in_words && reading.position_rule === "same"; // its place is kept, so that nothing moves
  return h("dl", { class: "answer-list" },
    answer.in_words || later ? block("IN WORDS", h("p", { title: answer.in_words_detail || null }, answer.in_words || "…")) : null,
    block("KNOWS", answer.knows.map(line)),
    block("PARTLY", answer.partly.map(line)),
    block("A LITTLE", answer.little.map(line)),
    answer.nothing ? block("NOT", h("p", {}, answer.nothing)) : null,
    answer.not_measured ? block("NOT MEASURED", h("p", {}, answer.not_measured)) : null,
    answer.members ? block("MEMBERS", [h("p", {}, answer.members), patterns(reading, onPattern)]) : null);
}

/** Near misses with what differs, and how far all of it can be trusted. @param {import("./types").Reading} reading */
export function drawEnd({ words: { answer } }) {
  const misses = answer.misses.map((miss) => h("div", { class: "answer-miss" },
    h("span", { class: "answer-number" }, miss.distance_words),
    h("span", { class: "answer-said" }, h("span", { class: "answer-input" }, printed(miss.input)), h("span", {}, miss.differs))));
  return h("dl", { class: "answer-list" },
    block("MISSES", misses),
    answer.trust ? block("TRUST", h("p", { class: `trust ${answer.trust_level.replaceAll(" ", "-")}` }, answer.trust)) : null);
}

/** Of long inputs two are enough to see what a pattern is. */
function few(examples) {
  return examples.slice(0, examples.some((example) => example.length > LONG) ? 2 : 3);
}

function block(name, body) {
  if (Array.isArray(body) && !body.length) return null;
  return h("div", { class: "answer-block" }, h("dt", {}, name), h("dd", {}, body));
}

function line({ text, share, share_words, detail }) {
  return h("div", { class: "answer-line", title: detail || null },
    h("span", { class: "answer-text" }, text), h("span", { class: "answer-number" }, share_words), bar(share));
}

function bar(share) {
  return h("span", { class: "well" }, share === null ? null : h("i", { style: { width: `${100 * Math.max(0, Math.min(1, share))}%` } }));
}

function patterns(reading, onPattern) {
  const { answer } = reading.words;
  if (!answer.patterns.length) return answer.no_pattern ? h("p", { class: "hint" }, answer.no_pattern) : null;
  const rows = answer.patterns.map(({ share, share_words, words, examples }, i) => {
    const cells = [
      h("span", { class: "answer-number" }, share_words), bar(share),
      h("span", { class: "answer-said" }, h("b", {}, words), few(examples).map((example) => h("span", { class: "answer-input" }, printed(example)))),
    ];
    if (!reading.samples.some((sample) => sample.pattern === i)) return h("div", { class: "pattern" }, cells);
    return h("button", { type: "button", class: "pattern", "aria-pressed": "false", title: "show only these rows", on: { click: () => choose(i) } }, cells);
  });

  function choose(i) {
    const chosen = rows[i].getAttribute("aria-pressed") === "true" ? null : i;
    rows.forEach((row, j) => row.matches("button") && row.setAttribute("aria-pressed", `${j === chosen}`));
    onPattern(chosen);
  }

  return h("div", { class: "patterns", role: "group", "aria-label": "Members by what they share" }, rows);
}
