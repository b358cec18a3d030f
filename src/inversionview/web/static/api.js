/**
 * What the server is asked: documents, and streams of events.
 */

/** A mistake or a limit that the server says in one line, or its silence. */
export class AskError extends Error {
  /** @param {string} message @param {string} [instead] what may be given in the place of what is wrong */
  constructor(message, instead = "") {
    super(message);
    this.instead = instead;
  }
}

const GONE = "The server does not answer. Is `inversionview serve` still running?";

/** @param {string} path */
export async function get(path) {
  return answered(await reach(path, { headers: { accept: "application/json" } }));
}

/** @param {string} path @param {any} body @param {AbortSignal} [signal] */
export async function post(path, body, signal) {
  return answered(await reach(path, posted(body, signal)));
}

/**
 * Ask a question whose answer comes as events; gives the data of `result`.
 * @param {string} path
 * @param {any} body
 * @param {{signal: AbortSignal, on: (name: string, data: any) => void}} how
 */
export async function ask(path, body, { signal, on }) {
  const response = await reach(path, posted(body, signal));
  if (!response.ok) await answered(response);
  let result = null;
  for await (const { name, data } of events(response, signal)) {
    if (name === "error") throw new AskError(data.message);
    if (name === "result") result = data;
    else on(name, data);
  }
  if (!result) throw new AskError("The answer broke off before it was whole. Ask again.");
  return result;
}

function posted(body, signal) {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal };
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AskError(GONE);
  }
}

async function answered(response) {
  let document = null;
  try {
    document = await response.json();
  } catch {
    throw new AskError(`The server’s answer (${response.status}) cannot be read.`);
  }
  if (!response.ok) throw new AskError(document.error ?? `The server refused (${response.status}).`, document.instead);
  return document;
}

async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
    }
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") throw new DOMException("cancelled", "AbortError");
    if (error instanceof AskError) throw error;
    throw new AskError(GONE);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {string} block lines of one event; null for a comment */
export function parseEvent(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}

/** The path of a study's question. */
export function pathOf(study, kind) {
  return `/api/studies/${encodeURIComponent(study)}/${kind}`;
}

const MOST_COLUMNS = 32; // features whose values the server is asked for

/**
 * The features that are asked about: those that tell of how inputs are written down only where the state says so.
 * @param {import("./report/types").Study} study
 * @param {import("./state.js").State} state
 */
export function columnsOf(study, state) {
  return study.features.filter((one) => !one.unasked || state.unasked).map((one) => one.name).slice(0, MOST_COLUMNS);
}

/**
 * The question and body of a reading.
 * @param {import("./state.js").State} state
 * @param {string[]} columns
 */
export function readingQuestion(state, columns) {
  const base = {
    input: state.input, at: state.at, site: state.site, epsilon: epsilonOf(state.epsilon), metric: state.metric || null,
    position_rule: state.rule, seed: state.seed, n: state.n, columns,
  };
  if (state.how.startsWith("exact")) {
    return { kind: "exact", body: { ...base, given: state.how.split(":")[1] ?? null } };
  }
  const temperatures = state.temperatures.split(",").map(Number).filter((t) => Number.isFinite(t) && t > 0);
  return { kind: "read", body: { ...base, temperatures: temperatures.length ? temperatures : [1], prior_share: state.prior } };
}

/** An epsilon as the server takes it: a number, a rule, or null for the study's. */
export function epsilonOf(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  return Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}
