/**
 * Beside a reading: a hypothesis about it, whether the model uses it, where the head looks, what the draws reached.
 */

import { drawHead } from "./report/attention.js";
import { featuresByBits } from "./report/bits.js";
import { mountCausal } from "./report/causal.js";
import { fill, h, unique } from "./report/dom.js";
import { mountTests } from "./report/hypothesis.js";
import { count, percent } from "./report/words.js";
import { pathOf, readingQuestion } from "./api.js";
import { positionOf } from "./ask.js";
import { makeJob } from "./job.js";
import { questionOf } from "./state.js";

const ENDED = "Ended before it was answered: another reading was asked for.";
const RANDOM_QUERIES = 39; // p of 0.025 at the least, in a time that one can wait

/**
 * @param {{store: import("./state.js").Store, studyOf: (name: string) => import("./report/types").Study}} options
 */
export function makePanels({ store, studyOf }) {
  const test = testPanel({ store, studyOf, body: activation });
  const causal = causalPanel({ store, body: activation });
  const head = headPanel({ store, studyOf });
  const reach = reachPanel({ store, studyOf, body: activation });
  const element = h("div", { class: "panels" }, test.element, causal.element, reach.element, head.element);
  let now = "";
  let tokens = null;

  /** The question of the activation that is shown, whatever else is asked about it. */
  function activation() {
    const state = store.get();
    const { body } = readingQuestion({ ...state, at: tokens.roles[positionOf(tokens, state.at)] }, []);
    const { input, at, site, epsilon, metric, position_rule, seed } = body;
    return { input, at, site, epsilon, metric, position_rule, seed, read: body };
  }

  return {
    element,
    show(state, of) {
      tokens = of;
      const question = questionOf(state);
      if (question === now) return;
      now = question;
      for (const panel of [test, causal, head, reach]) panel.clear(state, of);
    },
    /** @param {import("./report/types").PackedReading} reading */
    read(reading) {
      test.read(reading);
    },
  };
}

function panel(title, hint, ...children) {
  return h("section", { class: "card panel" }, h("h2", {}, title), h("p", { class: "hint" }, hint), children);
}

function testPanel({ store, studyOf, body }) {
  const id = unique("test");
  const field = h("input", { id, type: "text", spellcheck: "false", autocomplete: "off", class: "input-field" });
  const examples = h("div", { class: "examples", role: "group", "aria-label": "Hypotheses to try" });
  const everywhere = h("input", { type: "checkbox", id: `${id}-all` });
  const job = makeJob({ label: "test" });
  const out = h("div", { "aria-live": "polite" });
  const form = h("form", { class: "ask-line" }, h("label", { for: id, class: "unseen" }, "Hypothesis"), field,
    h("button", { type: "submit", class: "primary" }, "Test"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const state = store.get();
    const { input, at, site, metric, seed, epsilon } = body();
    const sites = everywhere.checked ? studyOf(state.study).sites.map((one) => one.name) : [site];
    store.set({ hypothesis: field.value }, true);
    fill(out);
    job.run(pathOf(state.study, "test"),
      { input, at, sites, hypothesis: field.value, metric, seed, random_queries: RANDOM_QUERIES, epsilon: typeof epsilon === "number" ? epsilon : null },
      { done: (result) => mountTests(out, result.document) });
  });
  const element = panel("Test a hypothesis",
    "A feature, or a condition over features: does it hold for the members, and more often than elsewhere?",
    form, examples, h("label", { class: "check", for: everywhere.id }, everywhere, "at every site of this position"), job.element, out);
  return {
    element,
    clear(state) {
      job.end(ENDED);
      fill(out);
      if (field !== document.activeElement) field.value = state.hypothesis;
    },
    read(reading) {
      fill(examples, ideas(reading).map((idea) =>
        h("button", { type: "button", class: "small mono", on: { click: () => { field.value = idea; field.focus(); } } }, idea)));
    },
  };
}

/** Conditions that this query meets, made of the features that are known best. */
export function ideas(reading) {
  // a packed reading is enough: names, bits, and the query's own values
  const features = featuresByBits(reading).filter((one) => one.value && one.value !== "none");
  const names = new Set(features.map((one) => one.name));
  const isSum = (one) => one.name.includes("+") && one.name.split("+").every((part) => names.has(part));
  const name = (one) => (/^[A-Za-z_]\w*$/.test(one.name) ? one.name : isSum(one) ? one.name.replaceAll("+", " + ") : `\`${one.name}\``);
  const is = (one) => `${name(one)} == ${/^\d+$/.test(one.value) ? one.value : `"${one.value}"`}`;
  const numbers = features.filter((one) => /^\d+$/.test(one.value) && /^[A-Za-z_]\w*$/.test(one.name));
  const conditions = features.slice(0, 3).map(is);
  if (numbers.length > 1) conditions.push(`${is(numbers[0])} and ${is(numbers[1])}`);
  return [...new Set(conditions)];
}

function causalPanel({ store, body }) {
  const job = makeJob({ label: "causal check" });
  const out = h("div", { "aria-live": "polite" });
  const go = h("button", { type: "button", class: "primary" }, "Check");
  go.addEventListener("click", () => {
    const { input, at, site, epsilon, metric, position_rule, seed } = body();
    job.run(pathOf(store.get().study, "causal"), { input, at, site, epsilon, metric, position_rule, seed, n: 200 },
      { done: (result) => mountCausal(out, result.document, { heading: false }) });
  });
  const element = panel("Is it used?",
    "Members’ activations are put in the place of this one, then those of other inputs: does the model’s answer follow? Features are used, or merely present.",
    h("div", { class: "ask-line" }, go), job.element, out);
  return { element, clear() { job.end(ENDED); fill(out); } };
}

function headPanel({ store, studyOf }) {
  const job = makeJob({ label: "attention" });
  const out = h("div", {});
  const title = h("h2", {}, "Where this head looks");
  const all = h("button", { type: "button", class: "small", on: { click: () => store.set({ view: "attention" }) } }, "all heads");
  const element = h("section", { class: "card panel wide" }, h("div", { class: "panel-head" }, title, all),
    h("p", { class: "hint" }, "Attention from the position read to each token before it."), job.element, out);
  let input = "";
  let attention = null;

  function draw(site, position) {
    fill(out, drawHead(attention, { layer: site.layer - (attention.first_layer ?? 0), head: site.head, position }));
  }

  return {
    element,
    clear(state, tokens) {
      const site = studyOf(state.study).sites.find((one) => one.name === state.site);
      element.hidden = site?.head === null || site?.head === undefined;
      if (element.hidden) return job.stop();
      const position = positionOf(tokens, state.at);
      const mine = `${state.study} ${site.layer} ${tokens.input}`;
      if (mine === input && attention) return draw(site, position);
      input = mine;
      attention = null;
      fill(out);
      job.run(pathOf(state.study, "attention"), { input: tokens.input, layer: site.layer }, { done: (result) => {
        attention = result.document;
        const now = studyOf(store.get().study).sites.find((one) => one.name === store.get().site);
        if (now && now.head !== null && now.layer === site.layer) draw(now, positionOf(tokens, store.get().at));
      } });
    },
  };
}

function reachPanel({ store, studyOf, body }) {
  const job = makeJob({ label: "coverage" });
  const out = h("div", { "aria-live": "polite" });
  const go = h("button", { type: "button", class: "primary" }, "Count");
  go.addEventListener("click", () => {
    const { read } = body();
    job.run(pathOf(store.get().study, "coverage"), read, { done: ({ document }) => fill(out, words(document)) });
  });
  const element = panel("What did the draws reach?",
    "Runs every input of the domain once, and counts which members were drawn.", h("div", { class: "ask-line" }, go), job.element, out);
  return {
    element,
    clear(state) {
      job.end(ENDED);
      fill(out);
      element.hidden = !(studyOf(state.study).enumerable && state.how === "sampled");
    },
  };
}

/** @param {import("./report/types").Coverage} coverage */
function words(coverage) {
  const off = Object.entries(coverage.total_variation).sort((a, b) => b[1] - a[1]).slice(0, 3);
  return [
    h("p", { class: "verdict" }, h("b", {}, `${count(coverage.found)} of ${count(coverage.members)} members`), ` were drawn: ${percent(coverage.recall)} of them, and ${percent(coverage.reach)} of their probability.`),
    h("p", { class: "hint" }, "Furthest from the truth, as a distribution over the weighted members: ",
      off.map(([name, tv], i) => [i ? ", " : "", h("b", {}, name), ` by ${percent(tv)}`]), " (total variation)."),
  ];
}
