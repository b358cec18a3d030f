/** What comes from Python, for whoever checks or reads the modules: `report/wire.py`, `report/words.py`, `results`, `web`. */

export interface Row {
  cells: string[];
  /** What makes it stand out, such as `used`, `known`, `ours`. */
  kind: string;
  /** A share in [0, 1] that is drawn beside it. */
  bar: number | null;
}

export interface Table {
  caption: string;
  columns: string[];
  rows: Row[];
}

/** What is said of a document, with its tables by name; those without rows are not drawn. */
export interface Words<Names extends string = string> {
  heading: string;
  place: string;
  /** Of a reading, without begin and end tokens. */
  input: string;
  sentences: string[];
  facts: string[][];
  settings: string[][];
  tables: Record<Names, Table>;
  notes: string[];
  /** Of a reading, what it says; null of anything else. */
  answer: Answer | null;
}

/** A feature, and how well it is known; the last of some lines names the other features. */
export interface Line {
  text: string;
  /** Of its entropy; null where the line names several features. */
  share: number | null;
  share_words: string;
  /** Bits of bits, with their interval. */
  detail: string;
}

export interface PatternLine {
  share: number;
  share_words: string;
  words: string;
  examples: string[];
  of_query: boolean;
}

export interface Miss {
  distance_words: string;
  input: string;
  differs: string;
  /** Index into the samples of the reading, of which a packed one may have fewer. */
  sample: number;
}

/** What a reading says, answer first: `report/answer.py`. */
export interface Answer {
  head: string;
  about: string;
  sentence: string;
  /** A rule over features, with how many of the inputs that fit it are members; empty where none was looked for. */
  in_words: string;
  /** All scores of it. */
  in_words_detail: string;
  knows: Line[];
  partly: Line[];
  little: Line[];
  nothing: string;
  members: string;
  patterns: PatternLine[];
  no_pattern: string;
  rows: string;
  misses: Miss[];
  trust: string;
  trust_level: "good" | "fair" | "cannot say" | "";
  not_measured: string;
}

interface SampleOf<Token> {
  tokens: Token[];
  position: number;
  distance: number | null;
  inside: boolean;
  in_domain: boolean;
  count: number;
  log_prob: number | null;
  colors: number[] | null;
  token_distances: (number | null)[] | null;
  /** Its share of the preimage; left out where weights are not known. */
  weight?: number;
  /** Of a near miss, what it has in place of what the members share. */
  differs?: string;
}

interface FeatureOf<Value> {
  name: string;
  values: Value[];
  query?: string | null;
}

export interface FeatureBits {
  name: string;
  bits: number;
  of: number;
  interval?: number[] | null;
}

export interface Query {
  /** As they are shown, once the reading is unpacked. */
  tokens: string[];
  position: number;
  at: string;
}

interface ReadingOf<Text> {
  kind: "reading";
  study: string;
  site: string;
  metric: "euclidean" | "cosine";
  epsilon: number;
  position_rule: "same" | "any";
  exact: boolean;
  query: Query;
  counts: { drawn: number; distinct: number; in_domain: number; inside: number };
  samples: SampleOf<Text>[];
  features: FeatureOf<Text>[];
  colors_about: string;
  shares?: number[];
  bits?: FeatureBits[];
  /** The members among the samples, as draws by weight come to them. */
  typical: number[];
  weighted: boolean;
  /** What its members share: the words are in the answer, here is by which features or positions they are told apart. */
  patterns?: { found: { examples: string[] }[]; by: string[] } | null;
  words: Words<"shares" | "bits" | "curve" | "sources"> & { answer: Answer };
}

interface Identified {
  /** Equal for equal tokens. */
  ids: number[];
}

/** Once unpacked, with which of the patterns it has. */
export type Sample = SampleOf<string> & Identified & { pattern?: number };
export type Reading = Omit<ReadingOf<string>, "query" | "samples"> & { query: Query & Identified; samples: Sample[] };
/** A reading whose tokens are indexes into `shown`, and whose values are indexes into `strings`. */
export type PackedReading = ReadingOf<number> & { strings: string[]; shown: string[]; query_ids: number[] };

export interface CellBits {
  bits: number;
  of: number;
  se: number | null;
  divergence: number;
  interval?: [number, number];
  entropy_difference?: number;
  log_score?: number;
}

export interface Cell {
  site: string;
  at: string;
  queries: number;
  log2_domain_over_preimage: number | null;
  se: number | null;
  bits: Record<string, CellBits>;
  knows: string[];
  best: string | null;
  epsilon?: number;
  members?: number;
  why_not?: string;
  by?: { value: string; queries: number; bits: Record<string, number> }[];
  /** The feature it knows best, its bits and sign, the others it knows. */
  face: string[];
  says: string;
  /** What it says, put into words; empty where that was not done. */
  in_words: string;
  /** How well it knows that one; null where nothing was measured. */
  level: "known" | "partly" | "little" | "nothing" | null;
}

export interface PackedMap {
  kind: "map";
  study: string;
  input: string | null;
  sites: string[];
  ats: string[];
  cells: Cell[];
  /** By named position, the features that the token there gives by itself. */
  given: Record<string, string[]>;
  /** By feature and named position, the first site that knows it. */
  known_from: Record<string, Record<string, string>>;
  /** Features that are left out unless they are asked for. */
  unasked: string[];
  words: Words<"cells">;
}

export interface PackedCausal {
  kind: "causal";
  words: Words<"groups" | "features">;
}

export interface PackedPatching {
  kind: "patching";
  words: Words;
}

export interface PackedTests {
  kind: "tests";
  tests: HypothesisTest[];
  words: Words<"tests">;
}

/** What sites say in words; no module draws it, as its table says all. */
export interface PackedExplanations {
  kind: "explanations";
  words: Words<"sites">;
}

export type Packed = PackedReading | PackedMap | PackedCausal | PackedPatching | PackedTests | PackedExplanations;

/** A tested hypothesis, as `inversionview test --json` prints it. */
export interface HypothesisTest {
  name: string;
  site: string;
  at: string;
  consistency: number | null;
  interval: [number, number] | null;
  members: number;
  base_rate: number | null;
  lift: number | null;
  p_value: number | null;
  p_corrected: number | null;
  sites_tried: number;
  controls: Record<string, { consistency: number | null; members: number }>;
  why_not?: string | null;
  /** `holds`, `holds for some`, `no more than elsewhere`, `unclear`, or `not tested`. */
  verdict: string;
  says: string;
}

/** Layers by heads by the position that looks by the positions looked at. */
export interface Attention {
  tokens: string[];
  first_layer?: number;
  layers: number[][][][];
}

export interface StudySite {
  name: string;
  kind: string;
  layer: number;
  head: number | null;
}

/** What the page is told about a study before anything is asked: `web/documents.py`. */
export interface Study {
  name: string;
  about: string;
  sites: StudySite[];
  /** `unasked`: it is left out unless it is asked for. */
  features: { name: string; about: string; values: number; unasked: boolean }[];
  columns: string[];
  epsilon: number | null;
  epsilon_rule: string;
  epsilons: Record<string, number>;
  has_decoder: boolean;
  size: number | null;
  enumerable: boolean;
  restrictions: Record<string, string>;
  examples: string[];
  start: { input: string; at: string; site: string; tokens: Tokens };
}

/** An input's tokens, and which of them can be read. */
export interface Tokens {
  input: string;
  tokens: string[];
  /** The tokens as text in which nothing is hidden. */
  shown: string[];
  roles: string[];
  eligible: boolean[];
  default: number;
}

/** What the draws reached of an exact preimage. */
export interface Coverage {
  found: number;
  members: number;
  recall: number;
  reach: number;
  total_variation: Record<string, number>;
}

/** An answer of the server that is whole: its document, and the key by which it can be had as a file. */
export interface Result<Document = any> {
  key: string;
  document: Document;
}
