/**
 * Settings: by draws or exactly, how many, which epsilon, metric and positions. A change asks at once.
 */

import { fill, h, unique } from "./report/dom.js";
import { short } from "./report/words.js";

/**
 * @param {{store: import("./state.js").Store}} options
 */
export function makeSettings({ store }) {
  const id = unique("set");
  const how = h("select", { id: `${id}-how` });
  const n = h("input", { id: `${id}-n`, type: "number", min: 1, step: 1, inputmode: "numeric" });
  const seed = h("input", { id: `${id}-seed`, type: "number", min: 0, step: 1, inputmode: "numeric" });
  const epsilon = h("input", { id: `${id}-epsilon`, type: "text", autocomplete: "off", spellcheck: "false" });
  const metric = select(`${id}-metric`, [["", "the study’s"], ["euclidean", "Euclidean, by the query’s length"], ["cosine", "cosine"]]);
  const rule = select(`${id}-rule`, [["same", "only the query’s position"], ["any", "each input’s best position"]]);
  const temperatures = h("input", { id: `${id}-temperatures`, type: "text", autocomplete: "off", inputmode: "decimal" });
  const prior = h("input", { id: `${id}-prior`, type: "number", min: 0, max: 0.9, step: 0.1 });
  const drawn = [row("temperatures", temperatures, "of the decoder, by commas"), row("share of the prior", prior, "inputs drawn without the activation")];
  const unasked = h("input", { id: `${id}-unasked`, type: "checkbox", on: { change: () => store.set({ unasked: unasked.checked ? "yes" : "" }) } });
  const written = row("how it is written", unasked, "also");
  const element = h("details", { class: "settings" }, h("summary", {}, "Settings ", h("span", { class: "summary-said" })),
    h("div", { class: "fields" },
      row("candidates", how), row("number", n, "drawn; of all inputs, the nearest that are listed"), row("ε", epsilon, "0.1, null:0.01 or causal:0.05"), row("distance", metric),
      row("positions", rule), drawn, row("seed", seed, "same seed, same draws"), written));
  const fields = { how, n, seed, epsilon, metric, rule, temperatures, prior };
  /** @type {import("./report/types").Study | null} */
  let study = null;

  for (const [name, field] of Object.entries(fields)) {
    field.addEventListener("change", () => {
      const number = ["n", "seed", "prior"].includes(name);
      const value = number ? Number(field.value) : field.value.trim();
      if (number && (field.value === "" || !Number.isFinite(value))) show(store.get());
      else store.set({ [name]: value, ...(["epsilon", "metric", "rule", "how"].includes(name) ? { cut: "" } : {}) });
    });
  }

  /** @param {import("./report/types").Study} next */
  function open(next) {
    study = next;
    const names = next.features.filter((one) => one.unasked).map((one) => one.name);
    written.hidden = !names.length;
    fill(written.querySelector("small"), `also ${names.join(", ")}`);
    fill(how, samples(next) ? h("option", { value: "sampled" }, next.has_decoder ? "drawn by the decoder, and verified" : "from a bank, and verified") : null,
      next.enumerable ? h("option", { value: "exact" }, `all ${next.size?.toLocaleString("en-US")} inputs (exact)`) : null,
      Object.entries(next.restrictions).map(([name, words]) => h("option", { value: `exact:${name}` }, `all ${words} (exact)`)));
  }

  function show(state) {
    for (const [name, field] of Object.entries(fields)) if (field.value !== `${state[name]}`) field.value = state[name];
    unasked.checked = state.unasked !== "";
    const own = study?.epsilons[state.site] ?? study?.epsilon ?? null;
    epsilon.placeholder = own === null ? study?.epsilon_rule ?? "" : short(own);
    for (const one of drawn) one.hidden = state.how !== "sampled";
    const parts = [state.how === "sampled" ? `${state.n} draws` : "exact", `ε ${state.epsilon || epsilon.placeholder}`];
    if (state.how === "sampled") parts.push(`seed ${state.seed}`);
    if (state.rule === "any") parts.push("any position");
    element.querySelector(".summary-said").textContent = parts.join(" · ");
  }

  return { element, open, show };
}

/** Whether an answer may come from draws: of a decoder, or where running all inputs would take too long.
 * @param {import("./report/types").Study} study */
function samples(study) {
  return study.has_decoder || !study.enumerable;
}

/** @param {import("./report/types").Study} study */
export function firstWay(study) {
  return samples(study) ? "sampled" : "exact";
}

function row(label, field, hint = "") {
  return h("div", { class: "field" }, h("label", { for: field.id }, label, hint ? h("small", {}, hint) : null), field);
}

function select(id, options) {
  return h("select", { id }, options.map(([value, words]) => h("option", { value }, words)));
}
