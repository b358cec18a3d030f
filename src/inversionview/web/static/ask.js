/**
 * What to read: a study, an input, a position in it, a site.
 */

import { fill, h, unique } from "./report/dom.js";
import { roving } from "./report/roving.js";
import { AskError, get, pathOf, post } from "./api.js";
import { firstWay, makeSettings } from "./settings.js";
import { makeSites } from "./sites.js";
import { startOf } from "./state.js";

const PAUSE = 250; // milliseconds without typing before an input is looked at
const FEW = 4;

/**
 * @param {HTMLElement} root
 * @param {{store: import("./state.js").Store, studies: import("./report/types").Study[], onTokens: (tokens: import("./report/types").Tokens) => void,
 *   onRefused: (error: {message: string, instead: string}) => void, onMap: (map: import("./report/types").PackedMap) => void}} options
 */
export function mountAsk(root, { store, studies, onTokens, onRefused, onMap }) {
  const id = unique("ask");
  const choice = h("select", { id: `${id}-study` }, studies.map((study) => h("option", { value: study.name }, study.name)));
  const about = h("p", { class: "hint" });
  const field = h("textarea", {
    id: `${id}-input`, rows: 1, spellcheck: "false", autocomplete: "off", "aria-describedby": `${id}-wrong`, class: "input-field",
  });
  const wrong = h("p", { id: `${id}-wrong`, class: "wrong", role: "alert" });
  const examples = h("div", { class: "examples", role: "group", "aria-label": "Examples" });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Tokens: choose the position to read" });
  const rove = roving(chips);
  const sites = makeSites({ onChoose: (site) => store.set({ site, cut: "" }), onMap });
  const settings = makeSettings({ store });
  const where = h("p", { class: "hint", "aria-live": "polite" });
  /** @type {import("./report/types").Tokens | null} */
  let tokens = null;
  let questions = 0;
  let seed = 0;

  // what follows the tokens is there when they are, so that it does not move down when they come
  const later = [section("3", "Position", where, chips), section("4", "Site", sites.element), settings.element];
  for (const one of later) one.hidden = true;
  fill(root,
    section("1", "Model", h("div", { class: "line" }, h("label", { for: choice.id, class: "unseen" }, "Study"), choice), about),
    section("2", "Input", h("label", { for: field.id, class: "unseen" }, "Input"), field, wrong, examples),
    later);

  function study() {
    return studies.find((one) => one.name === store.get().study);
  }

  choice.addEventListener("change", () => {
    const next = studies.find((one) => one.name === choice.value);
    if (!next) return;
    store.set({ study: next.name, ...startOf(next), how: firstWay(next), epsilon: "", metric: "", cut: "", columns: "", feature: "", hypothesis: "" });
  });

  let typed = 0;
  field.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => look(field.value), PAUSE);
    fit();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    take();
  });
  field.addEventListener("change", take);

  async function take() {
    clearTimeout(typed);
    const typedIn = await look(field.value);
    if (typedIn) store.set({ input: typedIn.input, at: fitting(typedIn), cut: "" });
  }

  /** The chosen position, if this input has it too. */
  function fitting({ roles, eligible }) {
    const { at } = store.get();
    return roles.some((role, i) => role === at && eligible[i]) ? at : "";
  }

  /** Ask for the tokens of an input; null where it is none, which is said. */
  async function look(text) {
    questions += 1;
    const mine = questions;
    try {
      const answer = await tokensOf(text);
      if (mine !== questions) return null;
      say("");
      field.removeAttribute("aria-invalid");
      show(answer);
      return answer;
    } catch (error) {
      if (mine !== questions) return null;
      const { message, instead } = error instanceof AskError ? error : { message: `${error}`, instead: "" };
      say(message, instead);
      field.setAttribute("aria-invalid", "true");
      chips.classList.add("old");
      if (text === store.get().input) onRefused({ message, instead });
      return null;
    }
  }

  /** Say what is wrong. What stands there already stays: a button that is replaced while it is pressed is not clicked. */
  function say(message, instead = "") {
    const key = JSON.stringify([message, instead]);
    if (wrong.dataset.said === key) return;
    wrong.dataset.said = key;
    fill(wrong, message, instead ? [" ", h("button", { type: "button", class: "small mono", on: { click: () => choose(instead) } }, instead)] : null);
  }

  /** The tokens of an input; those that a study starts with came with it. @returns {Promise<import("./report/types").Tokens>} */
  async function tokensOf(text) {
    const start = study()?.start.tokens;
    return start && text === start.input ? start : post(pathOf(store.get().study, "tokens"), { input: text });
  }

  /** @param {import("./report/types").Tokens} of */
  function show(of) {
    tokens = of;
    chips.classList.remove("old");
    for (const one of later) one.hidden = false;
    draw();
    onTokens(of);
  }

  function draw() {
    if (!tokens) return;
    const { input, roles, shown, eligible } = tokens;
    const position = positionOf(tokens, store.get().at);
    const focused = chips.contains(document.activeElement) ? /** @type {any} */ (document.activeElement).dataset.rove : null;
    fill(chips, tokens.tokens.map((token, i) => h("button", {
      type: "button", class: "chip", "data-rove": eligible[i] ? i : null, disabled: !eligible[i], "aria-pressed": `${i === position}`,
      "aria-label": `${shown[i]}, position ${i}${roles[i] === `${i}` ? "" : `, ${roles[i]}`}`,
      on: { click: () => store.set({ input, at: roles[i], cut: "" }) },
    }, h("span", { class: "tok" }, shown[i]), roles[i] === token || roles[i] === `${i}` ? null : h("small", {}, roles[i]))));
    if (focused) chips.querySelector(`[data-rove="${focused}"]`)?.focus();
    rove.reset();
    intoView(chips, chips.querySelector('[aria-pressed="true"]'));
    const role = roles[position];
    fill(where, "Which token’s activation is read: ", h("code", {}, role), role === `${position}` ? "" : ` (index ${position})`);
    sites.choose(store.get().site, role);
  }

  function drawExamples(list) {
    fill(examples, list.slice(0, FEW).map((text) =>
      h("button", { type: "button", class: "small mono", on: { click: () => choose(text) } }, text.length > 28 ? `${text.slice(0, 27)}…` : text)),
      h("button", { type: "button", class: "small", on: { click: another } }, "another"));
  }

  function choose(text) {
    field.value = text;
    fit();
    take();
  }

  async function another() {
    seed += 1;
    try {
      const { examples: drawn } = await get(`${pathOf(store.get().study, "examples")}?n=1&seed=${1000 + seed}`);
      choose(drawn[0]);
    } catch (error) {
      say(error.message);
    }
  }

  function fit() {
    field.style.setProperty("height", "auto");
    field.style.setProperty("height", `${Math.min(160, field.scrollHeight + 2)}px`);
  }

  /** @param {import("./state.js").State} state @param {Set<string>} changed */
  async function update(state, changed) {
    const here = study();
    if (here && changed.has("study")) {
      choice.value = state.study;
      fill(about, here.about);
      drawExamples(here.examples);
      sites.open(here);
      settings.open(here);
    }
    settings.show(state);
    if (changed.has("study") || changed.has("input")) {
      if (field.value !== state.input) field.value = state.input;
      fit();
      if (changed.has("study") || tokens?.input !== state.input) {
        const spelled = (await look(state.input))?.input; // as the task spells it
        if (spelled && spelled !== state.input && store.get().input === state.input) store.set({ input: spelled }, true);
      }
    }
    if (["study", "input", "at", "site"].some((name) => changed.has(name))) draw();
  }

  store.listen(update);
  return { start: () => update(store.get(), new Set(["study", "input"])), choose };
}

/** Scroll a box, and nothing around it, so that one of its elements is seen. */
function intoView(box, element) {
  if (!element) return;
  const top = element.offsetTop - box.offsetTop;
  if (top < box.scrollTop || top + element.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = top - box.clientHeight / 2;
  }
}

/** The index that a role stands for; the last eligible one for none, and for what is no position. */
export function positionOf(tokens, at) {
  const place = placeOf(tokens, at);
  return place < 0 ? tokens.default : place;
}

/** Whether an input has a position that can be read. */
export function hasPosition(tokens, at) {
  return at === "" || placeOf(tokens, at) >= 0;
}

function placeOf(tokens, at) {
  const place = tokens.roles.findIndex((role, i) => role === at && tokens.eligible[i]);
  return place < 0 && /^\d+$/.test(at) && tokens.eligible[Number(at)] ? Number(at) : place;
}

function section(number, title, ...children) {
  return h("section", { class: "step" }, h("h2", {}, h("span", { class: "step-number", "aria-hidden": "true" }, number), title), children);
}
