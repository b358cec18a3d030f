/**
 * What is asked and shown, kept in the address: every state can be shared, reloaded, and gone back to.
 */

/**
 * @typedef {object} State
 * @property {string} study
 * @property {string} input
 * @property {string} at a role, or "" for the last position
 * @property {string} site
 * @property {string} how `sampled`, `exact`, or `exact:` and the name of a part of the domain
 * @property {number} n
 * @property {number} seed
 * @property {string} epsilon as asked: a number, a rule such as `null:0.01`, or "" for the study's
 * @property {string} metric "" for the study's
 * @property {string} rule
 * @property {string} temperatures
 * @property {number} prior
 * @property {string} cut epsilon of the slider, "" for the one that was asked
 * @property {string} columns by commas; "-" for none, "" for the study's choice
 * @property {string} unasked "yes" to be told, too, of features of how inputs are written down
 * @property {string} view
 * @property {string} feature that the map shows alone, "" for the one that each cell knows best
 * @property {string} hypothesis
 * @property {string[]} pins each a query of its own, as in an address
 */

/** @type {State} */
export const DEFAULTS = {
  study: "", input: "", at: "", site: "", how: "sampled", n: 1000, seed: 0, epsilon: "", metric: "", rule: "same",
  temperatures: "1", prior: 0.1, cut: "", columns: "", unasked: "", view: "read", feature: "", hypothesis: "", pins: [],
};
const NUMBERS = ["n", "seed", "prior"];
const ALWAYS = ["study", "input", "at", "site", "n", "seed"];
/** What decides a reading: the rest is how it is shown. */
export const ASKED = ["study", "input", "at", "site", "how", "n", "seed", "epsilon", "metric", "rule", "temperatures", "prior", "unasked"];
const VIEWS = ["read", "map", "attention", "compare"];

/**
 * @param {string} hash of an address
 * @returns {Partial<State>} what it says; what it does not say, or says wrongly, is left out
 */
export function parse(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  /** @type {any} */
  const state = {};
  for (const name of Object.keys(DEFAULTS)) {
    if (name === "pins" || !given.has(name)) continue;
    const value = given.get(name);
    if (!NUMBERS.includes(name)) state[name] = value;
    else if (value !== "" && Number.isFinite(Number(value))) state[name] = Number(value);
  }
  if (given.has("pin")) state.pins = given.getAll("pin").slice(0, 8);
  if (state.view && !VIEWS.includes(state.view)) delete state.view;
  if (state.rule && !["same", "any"].includes(state.rule)) delete state.rule;
  return state;
}

/**
 * @param {State} state
 * @returns {string} without `#`
 */
export function format(state) {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "pins") continue;
    if (ALWAYS.includes(name) || value !== DEFAULTS[name]) out.set(name, `${value}`);
  }
  for (const pin of state.pins) out.append("pin", pin);
  return out.toString();
}

/** Where a study is opened. @param {import("./report/types").Study} study @returns {Partial<State>} */
export function startOf({ start: { input, at, site } }) {
  return { input, at, site };
}

/** What is asked, as a text that is the same for the same question. @param {State} state */
export function questionOf(state) {
  return format({ ...DEFAULTS, ...Object.fromEntries(ASKED.map((name) => [name, state[name]])) });
}

/** The settings in a pin. @param {string} pin @returns {State} */
export function unpinned(pin) {
  return { ...DEFAULTS, ...parse(pin), pins: [] };
}

/** @typedef {ReturnType<typeof makeStore>} Store */

/**
 * The state of the page with those who want to know when it changes.
 * @param {State} first
 * @param {(hash: string) => State} read gives a whole state for any address
 */
export function makeStore(first, read) {
  let state = first;
  /** @type {((state: State, changed: Set<string>) => void)[]} */
  const listeners = [];

  function take(next) {
    const changed = new Set(Object.keys(next).filter((name) => `${next[name]}` !== `${state[name]}`));
    state = next;
    if (changed.size) for (const listen of listeners) listen(state, changed);
    return changed;
  }

  window.addEventListener("popstate", () => take(read(location.hash)));

  return {
    get: () => state,
    listen: (run) => listeners.push(run),
    /**
     * @param {Partial<State>} change
     * @param {boolean} [quietly] put it in the place of the present entry of the history
     */
    set(change, quietly = false) {
      const changed = take({ ...state, ...change });
      const address = `#${format(state)}`;
      if (!changed.size || address === location.hash) return;
      if (quietly) history.replaceState(null, "", address);
      else history.pushState(null, "", address);
    },
  };
}
