/**
 * The view that answers: the reading of what was asked, and beside it a hypothesis, the causal check, attention.
 */

import { h } from "./report/dom.js";
import { mountReading } from "./report/reading.js";
import { columnsOf, pathOf, readingQuestion } from "./api.js";
import { positionOf } from "./ask.js";
import { makeJob } from "./job.js";
import { makeKeep } from "./keep.js";
import { makePanels } from "./panels.js";
import { questionOf } from "./state.js";

/**
 * @param {{store: import("./state.js").Store, studyOf: (name: string) => import("./report/types").Study}} options
 */
export function makeReadView({ store, studyOf }) {
  const job = makeJob({ label: "reading" });
  const shown = h("div", { class: "card reading-card" });
  const panels = makePanels({ store, studyOf });
  panels.element.hidden = true; // they are about the reading, which comes first
  const element = h("div", { class: "read-view" }, shown, panels.element);
  let view = null;
  let key = "";
  let answered = ""; // the question whose answer is shown or on its way
  let tokens = null;
  /** @type {Map<string, any>} */
  const kept = new Map();

  const pin = h("button", { type: "button", class: "small", on: { click: togglePin } }, "Pin");
  const keep = makeKeep({ key: () => key, view: () => view, name: fileName });

  /** @param {import("./state.js").State} state @param {import("./report/types").Tokens} of the tokens of its input */
  function show(state, of) {
    tokens = of;
    const question = questionOf(state);
    if (question === answered) {
      if (view && key) view.cutAt(state.cut ? Number(state.cut) : view.reading.epsilon);
      drawPin(state);
      return;
    }
    answered = question;
    key = "";
    const study = studyOf(state.study);
    const { kind, body } = readingQuestion({ ...state, at: of.roles[positionOf(of, state.at)] }, columnsOf(study, state));
    shown.classList.add("old");
    shown.style.setProperty("min-height", `${shown.offsetHeight}px`); // so that what is below stays where it is
    shown.setAttribute("aria-busy", "true");
    job.run(pathOf(state.study, kind), body, {
      partial: (document) => draw(document, true),
      done: (result) => {
        key = result.key;
        kept.set(question, result);
        panels.read(result.document);
        draw(result.document, false);
      },
      failed: () => {
        shown.setAttribute("aria-busy", "false");
        answered = "";
      },
      stopped: () => shown.setAttribute("aria-busy", "false"),
    });
    panels.show(state, of); // after the reading, for which the model is asked first
  }

  function draw(document, partial) {
    const state = store.get();
    const study = studyOf(state.study);
    view?.stop();
    shown.classList.remove("old");
    shown.setAttribute("aria-busy", `${partial}`);
    panels.element.hidden = false;
    if (!partial) shown.style.removeProperty("min-height");
    view = mountReading(shown, document, {
      columns: state.columns === "-" ? [] : state.columns ? state.columns.split(",") : null,
      ownColumns: study.columns,
      roles: tokens.roles,
      epsilon: state.cut ? Number(state.cut) : null,
      onEpsilon: (epsilon) => store.set({ epsilon: `${epsilon}`, cut: "" }),
      onShown: (now) => store.set({
        cut: now.epsilon === view?.reading.epsilon ? "" : `${now.epsilon}`,
        columns: now.columns === null ? "" : now.columns.join(",") || "-",
      }, true),
      tools: [pin, keep],
      partial,
    });
    drawPin(state);
  }

  function togglePin() {
    const state = store.get();
    const mine = questionOf(state);
    const pins = state.pins.includes(mine) ? state.pins.filter((one) => one !== mine) : [...state.pins, mine];
    store.set({ pins });
  }

  function drawPin(state) {
    const pinned = state.pins.includes(questionOf(state));
    pin.textContent = pinned ? "Unpin" : "Pin to compare";
    pin.setAttribute("aria-pressed", `${pinned}`);
  }

  function fileName() {
    const state = store.get();
    return [state.study, state.site, state.at || "last"].join("-").replace(/[^\p{L}\p{N}.=+-]+/gu, "_");
  }

  return { element, progress: job.element, show, kept };
}
