/**
 * The page: what is asked on one side, the answer on the other, all of it kept in the address.
 */

import { fill, h } from "./report/dom.js";
import { get } from "./api.js";
import { mountAsk } from "./ask.js";
import { makeCompare } from "./compare.js";
import { makeReadView } from "./read-view.js";
import { firstWay } from "./settings.js";
import { DEFAULTS, format, makeStore, parse, startOf } from "./state.js";
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
 * The state that the address gives, filled up with what its study starts with.
 * @param {string} hash
 * @param {import("./report/types").Study[]} studies
 * @returns {import("./state.js").State}
 */
function stateAt(hash, studies) {
  const given = parse(hash);
  const study = studies.find((one) => one.name === given.study) ?? studies[0];
  const start = given.input !== undefined ? {} : startOf(study);
  const { name: site } = study.sites.find((one) => one.name === given.site) ?? { name: study.start.site };
  return { ...DEFAULTS, how: firstWay(study), ...start, ...given, study: study.name, site };
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
  const store = makeStore(stateAt(location.hash, studies), (hash) => stateAt(hash, studies));
  const studyOf = (name) => /** @type {import("./report/types").Study} */ (studies.find((one) => one.name === name));
  const read = makeReadView({ store, studyOf });
  const map = makeMapView({ store, studyOf });
  const attention = makeAttentionView({ store, studyOf });
  const compare = makeCompare({ store, studyOf, kept: read.kept });
  const elements = { read: read.element, map: map.element, attention: attention.element, compare: compare.element };
  let tokens = null;

  const tabs = VIEWS.map(([name, words]) => h("button", { type: "button", class: "view", "data-view": name, on: { click: () => store.set({ view: name }) } }, words));
  fill($("views"), tabs);

  function show() {
    const state = store.get();
    for (const tab of tabs) {
      const mine = tab.dataset.view === state.view;
      if (mine) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
      if (tab.dataset.view === "compare") tab.textContent = state.pins.length ? `Compare (${state.pins.length})` : "Compare";
    }
    if ($("view").firstChild !== elements[state.view]) fill($("view"), elements[state.view]);
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
      tokens = { ...of, study: store.get().study };
      if (of.input === store.get().input) show();
    },
    onMap: (document) => {
      map.take(document);
      if (store.get().view === "map") map.show(store.get());
    },
  });
  store.listen(show);
  history.replaceState(null, "", `#${format(store.get())}`);
  show();
  ask.start();
}

begin();
