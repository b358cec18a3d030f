/**
 * The other views: the map of the whole model, and the attention of all heads.
 */

import { mountAttention } from "./report/attention.js";
import { fill, h } from "./report/dom.js";
import { mountMap } from "./report/map.js";
import { pathOf } from "./api.js";
import { positionOf } from "./ask.js";
import { makeJob } from "./job.js";

/**
 * @param {{store: import("./state.js").Store, studyOf: (name: string) => import("./report/types").Study}} options
 */
export function makeMapView({ store, studyOf }) {
  const job = makeJob({ label: "map" });
  const wording = makeJob({ label: "words" });
  const body = h("div", {});
  const of = h("p", { class: "hint" });
  const one = h("button", { type: "button", class: "small", on: { click: () => make(store.get().input) } }, "map this input only");
  const whole = h("button", { type: "button", class: "small", on: { click: () => make(null) } }, "map the model");
  const element = h("div", { class: "card" }, of, job.element, body, wording.element);
  let kept = null;
  let shown = "";

  function make(input) {
    job.run(pathOf(store.get().study, "map"), input === null ? {} : { input }, {
      partial: (document) => draw(document), done: (result) => draw(result.document),
    });
  }

  /** Put what a cell says into words. @param {import("./report/types").Cell} cell @param {() => void} done */
  function explain(cell, done) {
    wording.run(pathOf(store.get().study, "explain"), { sites: [cell.site], at: cell.at }, {
      done: (result) => {
        cell.in_words = result.document.in_words[cell.site];
        done();
      },
    });
  }

  function draw(map) {
    const state = store.get();
    const study = studyOf(state.study);
    mountMap(body, map, {
      abouts: Object.fromEntries(study.features.map((feature) => [feature.name, feature.about])),
      chosen: { site: state.site, at: state.at },
      feature: state.feature,
      onFeature: (feature) => store.set({ feature }, true),
      onChoose: (site, at) => store.set({ site, at, view: "read", cut: "" }),
      onExplain: explain,
      tools: [one, whole],
    });
  }

  return {
    element,
    /** @param {import("./report/types").PackedMap | null} map the study's own, or null */
    take(map) {
      kept = map;
      shown = "";
      wording.stop();
    },
    show(state) {
      fill(of, "What every site knows at every named position: where a feature first appears, and which heads carry it on.");
      const wanted = `${state.study} ${kept ? "kept" : "none"}`;
      if (wanted === shown) return;
      shown = wanted;
      if (kept) draw(kept);
      else fill(body, h("div", { class: "empty" }, h("h2", {}, "There is no map of this model yet"),
        h("p", {}, "Measuring every site at every position takes from seconds to minutes."), h("div", { class: "ask-line" }, whole, one)));
    },
  };
}

/**
 * @param {{store: import("./state.js").Store, studyOf: (name: string) => import("./report/types").Study}} options
 */
export function makeAttentionView({ store, studyOf }) {
  const job = makeJob({ label: "attention" });
  const body = h("div", {});
  const element = h("div", { class: "card" }, h("h2", {}, "What every head looks at"),
    h("p", { class: "hint" }, "A row for the token that looks, a column for each token before it that is looked at; the shaded row is the position read."), job.element, body);
  let answered = "";
  /** @type {import("./report/types").Attention | null} */
  let attention = null;

  function draw(state, tokens) {
    const site = studyOf(state.study).sites.find((one) => one.name === state.site);
    if (!attention) return;
    mountAttention(body, attention, {
      position: positionOf(tokens, state.at),
      chosen: site && site.head !== null ? { layer: site.layer, head: site.head } : null,
      readable: (layer, head) => studyOf(state.study).sites.some((one) => one.name === `a${layer}.${head}`),
      onChoose: (layer, head) => store.set({ site: `a${layer}.${head}`, view: "read", cut: "" }),
    });
  }

  return {
    element,
    show(state, tokens) {
      const question = `${state.study} ${tokens.input}`;
      if (question === answered) {
        draw(state, tokens);
        return;
      }
      answered = question;
      attention = null;
      fill(body);
      job.run(pathOf(state.study, "attention"), { input: tokens.input }, {
        done: (result) => {
          attention = result.document;
          draw(store.get(), tokens);
        },
        failed: () => { answered = ""; },
      });
    },
  };
}
