/**
 * Long work that says how far it is, can be cancelled, and can be asked for again when it failed.
 */

import { fill, h } from "./report/dom.js";
import { count } from "./report/words.js";
import { AskError, ask } from "./api.js";

const STAGES = {
  propose: "drawing candidates", verify: "running them through the model", color: "asking the decoder about each token",
  weigh: "weighing them", explain: "putting it into words", scan: "running all inputs of the domain", "look around": "looking around each query", epsilon: "choosing ε", map: "measuring cells", test: "testing", patch: "patching activations",
  attention: "looking at the heads",
};
const SLOW = 150; // milliseconds before anything is said: what is answered from the cache must not flicker

/**
 * @typedef {{partial?: (document: any) => void, done: (result: import("./report/types").Result) => void,
 *   failed?: (message: string) => void, stopped?: () => void}} Then what is done with news of a question
 */

/**
 * @param {{label?: string}} [how]
 */
export function makeJob({ label = "" } = {}) {
  const words = h("span", { class: "job-words", role: "status" });
  const meter = h("progress", { "aria-label": label || "progress" });
  const cancel = h("button", { type: "button", class: "small", on: { click: cancelled } }, "Cancel");
  const again = h("button", { type: "button", class: "small", on: { click: () => last && run(...last) } }, "Try again");
  const element = h("div", { class: "job" });
  /** @type {AbortController | null} */
  let running = null;
  /** @type {[string, any, Then] | null} */
  let last = null;

  function cancelled() {
    stop("Cancelled.");
    last?.[2].stopped?.();
  }

  function show(...children) {
    fill(element, children);
  }

  function stop(message = "") {
    const was = running;
    running = null;
    was?.abort();
    if (!was) return;
    words.textContent = message;
    if (message) show(words, again);
    else show();
  }

  /** End what runs because of something else, and say so; what was said before goes. */
  function end(message) {
    const was = running;
    stop();
    words.textContent = was ? message : "";
    if (was) show(words);
    else show();
  }

  /**
   * @param {string} path
   * @param {any} body
   * @param {Then} then
   */
  async function run(path, body, then) {
    stop();
    const mine = new AbortController();
    running = mine;
    last = [path, body, then];
    words.textContent = "";
    element.classList.remove("failed");
    meter.removeAttribute("value");
    const slow = setTimeout(() => {
      if (running !== mine) return;
      show(meter, words, cancel);
      if (!words.textContent) words.textContent = "asking the model";
    }, SLOW);
    try {
      const result = await ask(path, body, { signal: mine.signal, on: (name, data) => running === mine && heard(name, data, then) });
      if (running !== mine) return;
      running = null;
      show();
      then.done(result);
    } catch (error) {
      if (running !== mine || error.name === "AbortError") return;
      running = null;
      if (!(error instanceof AskError)) console.error(error);
      element.classList.add("failed");
      const message = error instanceof AskError ? error.message : "Something went wrong in this page; its console says more.";
      show(h("p", { class: "job-error", role: "alert" }, message), again);
      then.failed?.(message);
    } finally {
      clearTimeout(slow);
    }
  }

  function heard(name, data, then) {
    if (name === "partial") then.partial?.(data.document);
    else if (name === "queued") {
      words.textContent = data.ahead ? `waiting: ${data.ahead} ${data.ahead === 1 ? "question is" : "questions are"} before this one` : "";
    } else if (name === "progress") {
      const stage = STAGES[data.stage] ?? data.stage;
      words.textContent = data.of ? `${stage}, ${count(data.done)} of ${count(data.of)}` : stage;
      if (data.of) {
        meter.max = data.of;
        meter.value = data.done;
      } else meter.removeAttribute("value");
    }
  }

  return { element, run, stop, end, running: () => running !== null };
}
