/**
 * The page: what is asked on one side, the answer on the other, all of it kept in the address.
 */

import { fill, h } from "./report/dom.js";
import { get } from "./api.js";
import { hasPosition, mountAsk } from "./ask.js";
import { makeCompare } from "./compare.js";
import { makeReadView } from "./read-view.js";
import { firstWay } from "./settings.js";
import { ASKED, DEFAULTS, format, makeStore, parse, startOf } from "./state.js";
import { makeAttentionView, makeMapView } from "./views.js";

const VIEWS = [["read", "Reading"], ["map", "Map of the model"], ["attention", "Attention"], ["compare", "Compare"]];
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

function themeButton() {
  const button = $("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  const draw = () => { button.textContent = now() === "dark" ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("inversionview-theme", root.dataset.theme);
    } catch {
      // then it is chosen again the next time
    }
    draw();
  });
  system.addEventListener("change", draw);
  draw();
}

/**
 * The state that the address gives, filled up with what its study starts with, and what is said of what it lacks.
 * @param {string} hash
 * @param {import("./report/types").Study[]} studies
 * @returns {{state: import("./state.js").State, notes: string[]}}
 */
function stateAt(hash, studies) {
  const given = parse(hash);
  const notes = [];
  const study = studies.find((one) => one.name === given.study) ?? studies[0];
  if (given.study !== undefined && given.study !== study.name) {
    notes.push(`The address asks for the study “${given.study}”, which is not served here: this is ${study.name}, where it starts.`);
    for (const name of ["input", "at", "site"]) delete given[name]; // they are another study's
  }
  const start = given.input !== undefined ? { site: study.start.site } : startOf(study);
  if (given.site !== undefined && !study.sites.some((one) => one.name === given.site)) {
    notes.push(`${study.name} has no site “${given.site}”: this is ${start.site}.`);
    delete given.site;
  }
  return { state: { ...DEFAULTS, how: firstWay(study), ...start, ...given, study: study.name }, notes };
}

async function begin() {
  themeButton();
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address after # is the state
    $("answer").focus();
  });
  /** @type {import("./report/types").Study[]} */
  let studies;
  try {
    ({ studies } = await get("/api/studies"));
  } catch (error) {
    fill($("ask"), h("p", { class: "wrong", role: "alert" }, error.message),
      h("button", { type: "button", class: "small", on: { click: () => location.reload() } }, "Try again"));
    return;
  }
  /** @type {string[]} what is to be said of the next state */
  let notes = [];
  const stateOf = (hash) => {
    const found = stateAt(hash, studies);
    notes = found.notes;
    queueMicrotask(say); // where the state is the one before
    return found.state;
  };
  const store = makeStore(stateOf(location.hash), stateOf);
  const studyOf = (name) => /** @type {import("./report/types").Study} */ (studies.find((one) => one.name === name));
  const read = makeReadView({ store, studyOf });
  const map = makeMapView({ store, studyOf });
  const attention = makeAttentionView({ store, studyOf });
  const compare = makeCompare({ store, studyOf, kept: read.kept });
  const elements = { read: read.element, map: map.element, attention: attention.element, compare: compare.element };
  let tokens = null;
  /** @type {HTMLElement | null} */
  let refused = null; // in the place of an answer, where the input is none

  const tabs = VIEWS.map(([name, words]) => h("button", { type: "button", class: "view", "data-view": name, on: { click: () => store.set({ view: name }) } }, words));
  fill($("views"), tabs);
  $("tab-line").append(read.progress);

  function say() {
    if (notes.length) fill($("notice"), notes.map((note) => h("p", {}, note)));
    notes = [];
  }

  function refuse({ message, instead }) {
    tokens = null;
    refused = h("div", { class: "card empty" }, h("h2", {}, "This input cannot be read"), h("p", {}, message),
      instead ? h("div", { class: "ask-line" }, h("button", { type: "button", class: "primary mono", on: { click: () => ask.choose(instead) } }, `Read ${instead}`)) : null);
    show();
  }

  function show() {
    const state = store.get();
    for (const tab of tabs) {
      const mine = tab.dataset.view === state.view;
      if (mine) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
      if (tab.dataset.view === "compare") tab.textContent = state.pins.length ? `Compare (${state.pins.length})` : "Compare";
    }
    const needsInput = state.view === "read" || state.view === "attention";
    const seen = (needsInput && refused) || elements[state.view];
    if ($("view").firstChild !== seen) fill($("view"), seen);
    document.title = state.site ? `${state.site} of ${state.input} · inversionview` : "inversionview";
    if (state.view === "compare") compare.show(state);
    if (state.view === "map") map.show(state);
    // what belongs to another input is not asked: its tokens come first
    if (!tokens || tokens.study !== state.study || tokens.input !== state.input) return;
    if (state.view === "read") read.show(state, tokens);
    if (state.view === "attention") attention.show(state, tokens);
  }

  const ask = mountAsk($("ask"), {
    store, studies,
    onTokens: (of) => {
      const { study, input, at } = store.get();
      tokens = { ...of, study };
      if (of.input !== input) return;
      refused = null;
      if (hasPosition(of, at)) return show();
      const before = [...$("notice").children].map((one) => one.textContent ?? "");
      notes = [...before, `“${at}” is no position of this input that can be read: this is the last one, ${of.roles[of.default]}.`];
      store.set({ at: "" }, true);
    },
    onRefused: refuse,
    onMap: (document) => {
      map.take(document);
      if (store.get().view === "map") map.show(store.get());
    },
  });
  store.listen((_, changed) => {
    if (ASKED.some((name) => changed.has(name))) fill($("notice"));
    if (changed.has("study") || changed.has("input")) refused = null;
    say();
    show();
  });
  history.replaceState(null, "", `#${format(store.get())}`);
  show();
  ask.start();
}

begin();
