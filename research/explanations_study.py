"""Measures what the page on explanations says, part by part: `python -m research.explanations_study truth-addition`.

Without a name all parts are measured. Each writes its own key of `research/results/study-explanations.json`, a group of
cells or a site at a time, so that a run that was stopped goes on where it was; `--again` measures a part anew. What
sites of bundled studies say by their own ε is written into their folders, too.

The truth parts are of domains that can be listed, or of the part of one that an input is in. Beside each explanation
stands the best rule that a search ten times as wide finds, and on some cells the best of all combinations of three of
500 literals.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator

from benchmarks.common import BEGIN, smollm2
from inversionview.errors import UserError
from inversionview.files import write_atomic
from inversionview.reading.conditions import checked_condition
from inversionview.reading.explanation import rules
from inversionview.reading.explanation.evidence import FEWEST_MEMBERS, MEMBER, Evidence, of_all
from inversionview.reading.explanation.finding import front_of
from inversionview.reading.explanation.forms import _yes_no
from inversionview.reading.explanation.quantities import Quantity, quantities
from inversionview.reading.explanation.scores import detection_scores, signed_weights
from inversionview.reading.hypotheses import is_row, padded_row
from inversionview.results import convert
from inversionview.results.explanation import CONSISTENCY, DETECTION, GENERATION, Explanation
from inversionview.results.explanations import SiteExplanation
from inversionview.results.preimage import Query
from inversionview.seeds import mixed, seeded
from inversionview.studies.banks import bank_for
from inversionview.studies.kept_explanations import write_explanations
from inversionview.studies.parts import Parts, part_of
from inversionview.studies.settings import ExplainSettings
from inversionview.studies.study import Study, load_study, open_study
from inversionview.studies.verbs import explain as verb
from inversionview.studies.verbs import explain_inputs
from inversionview.studies.verbs.explain_by_features import by_features
from inversionview.tasks.base import Restrictable, Task
from research.documents import rounded
from research.paths import RESULTS, ROOT

NAME = "study-explanations"
SEED = 0
INPUTS = 10
"""Random inputs of each site and position."""
SAMPLED, BRUTE = 5, 1
"""Of these, explained from draws, too, and compared with all combinations of literals."""
WIDE, COUNTED = 60, 3
"""Rules that the wider search goes on with, and how many of the best are counted in all inputs."""
LITERALS, SHORTLIST = 500, 50
"""Distinct literals of the combinations, those that are worth most alone, and combinations counted in all inputs."""
WITH_INTERVALS = (DETECTION, GENERATION, CONSISTENCY)


class Sizes(NamedTuple):
    """How much is measured."""

    pairs: int
    inputs: int = INPUTS
    sampled: int = SAMPLED
    brute: int = BRUTE


class Sites(NamedTuple):
    """Sites that are put into words."""

    study: str
    sites: tuple[str, ...]
    at: str
    queries: int = 20
    written: int = 100
    epsilon: Any = None
    used: tuple[int, int] | None = None
    """Activations of which it is tried whether the model uses what is said, and inputs of each group; None for all."""


def read() -> dict[str, Any]:
    """What was measured so far."""
    path = RESULTS / f"{NAME}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep(part: str, document: Any) -> None:
    """Write the key of one part, and leave the others as they are."""
    RESULTS.mkdir(exist_ok=True)
    content = {**read(), part: rounded(document, ".6g")}
    write_atomic(RESULTS / f"{NAME}.json", json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")


# Truth


def truth(study: Study, sizes: Sizes, done: Sequence[Any] = ()) -> Iterator[list[Any]]:
    """Cells of one site and position after the other, all so far; those in `done` are not measured again."""
    groups = list(done)
    have = {(group["site"], group["at"]) for group in groups}
    for site, role in places(study, sizes.pairs):
        if (site, role) not in have:
            groups.append({"site": site, "at": role, "cells": cells_of(study, site, role, sizes)})
            yield groups


def places(study: Study, n: int) -> list[tuple[str, str]]:
    """Sites in random order, each with a random role; a site comes again only after all others."""
    generator, pairs = seeded(SEED), list[tuple[str, str]]()
    while len(pairs) < n:
        for at in torch.randperm(len(study.sites), generator=generator).tolist():
            role = study.task.roles[int(torch.randint(len(study.task.roles), (1,), generator=generator))]
            if (study.sites[at], role) not in pairs and _readable(study, role):
                pairs.append((study.sites[at], role))
    return pairs[:n]


def _readable(study: Study, role: str) -> bool:
    try:
        verb._texts_with(study.task, role, 1, seeded(SEED))
    except UserError:
        return False
    return True


def cells_of(study: Study, site: str, role: str, sizes: Sizes) -> list[dict[str, Any]]:
    """Explanations of some random inputs at one place, each beside what is best, and beside what says nothing."""
    settings = ExplainSettings(exact=True, seed=SEED)
    cells: list[dict[str, Any]] = []
    for parts, queries in asked(study, site, role, sizes):
        written = explain_inputs.Written(parts, queries[0], study.criterion.metric, settings)
        for look in verb.looks(parts, queries, study.criterion, settings):
            cells.append(cell_of(study, parts, look, written, sizes, sum("best" in one for one in cells)))
    return cells


def asked(study: Study, site: str, role: str, sizes: Sizes) -> Iterator[tuple[Parts, list[Query]]]:
    """Random inputs, in the domain that their preimages are of: the whole, or for each the part that it is in."""
    generator = Generator().manual_seed(mixed(SEED, sum(map(ord, site + role))))
    part = GIVEN.get(study.name)
    texts = verb._texts_with(study.task, role, sizes.inputs * (1 if part is None else _TRIED), generator)
    queries = [study.query(text, role, site) for text in texts]
    if part is None:
        yield study.parts, queries
        return
    left = sizes.inputs
    for query in queries:
        try:
            parts, _ = part_of(study.parts, query, part)
        except UserError:
            continue  # there are too many such inputs
        if left and (parts.task.size or 0) <= LARGEST_PART:
            left -= 1
            yield parts, [query]


def cell_of(
    study: Study, parts: Parts, look: explain_inputs.Look, written: explain_inputs.Written, sizes: Sizes, before: int
) -> dict[str, Any]:
    """One activation; `before`: those at its place that could be scored."""
    task = parts.task
    cell: dict[str, Any] = {"input": look.query.input, "members": look.evidence.members}
    cell["explained"] = told(by_features(task, look, written))
    if not scoreable(look.evidence):
        return cell
    cell["best"] = wider(task, look)
    cell["dealt"] = told(by_features(task, dealt_out(look), written))
    if before < sizes.sampled and parts is study.parts:
        cell["sampled"] = beside_exact(study, look)
    if before < sizes.brute:
        cell["combined"] = combined(task, look)
    return cell


def scoreable(evidence: Evidence) -> bool:
    """Whether there are members enough, and other inputs."""
    return evidence.members >= FEWEST_MEMBERS and bool((evidence.kinds != MEMBER).any())


def told(explanation: Explanation) -> dict[str, Any]:
    """An explanation with its scores."""
    return {
        "expression": explanation.expression,
        "says_nothing": explanation.says_nothing,
        "scores": {name: dataclasses.asdict(score) for name, score in explanation.scores.items()},
    }


def both_sides(evidence: Evidence) -> Evidence:
    """The same, with nothing kept for scoring."""
    return dataclasses.replace(evidence, scored=np.zeros(len(evidence.scored), dtype=bool))


def detection_of_all(task: Task, look: explain_inputs.Look, text: str) -> float:
    """Detection of an expression, counted in all inputs."""
    counted = explain_inputs.counted(checked_condition(task, text), look)
    score = detection_scores(counted.shares, counted.base, exact=True)[DETECTION].value
    assert score is not None
    return score


def _best_of(task: Task, look: explain_inputs.Look, texts: Sequence[str]) -> dict[str, Any]:
    scored = [(detection_of_all(task, look, text), text) for text in texts]
    value, text = max(scored, default=(0.5, ""))
    return {"detection": value, "expression": text}


@contextmanager
def _keeping(n: int) -> Iterator[None]:
    before, rules.KEPT = rules.KEPT, n
    try:
        yield
    finally:
        rules.KEPT = before


def wider(task: Task, look: explain_inputs.Look) -> dict[str, Any]:
    """The rule of best detection that a wider search finds by the inputs of both sides."""
    with _keeping(WIDE):
        front = front_of(task, both_sides(look.evidence), look.query)
    return _best_of(task, look, [rule.text for rule in front[-COUNTED:]])


# Members dealt out by chance


def dealt_out(look: explain_inputs.Look) -> explain_inputs.Look:
    """The same distances, dealt out anew among the inputs other than the query's own."""
    whole, distances = look.whole, look.distances
    assert whole is not None
    assert distances is not None
    generator = Generator().manual_seed(mixed(SEED, look.query.position, *look.query.tokens))
    rows = np.flatnonzero(np.isfinite(distances) & ~is_row(whole.tokens, look.query.tokens))
    dealt = distances.copy()
    dealt[rows] = distances[rows[torch.randperm(len(rows), generator=generator).numpy()]]
    evidence = of_all(
        whole.tokens, whole.positions, dealt, whole.prior, epsilon=look.epsilon, query=look.query.tokens,
        generator=generator,
    )  # fmt: skip
    return look._replace(evidence=evidence, distances=dealt)


# Intervals of a sample


def beside_exact(study: Study, look: explain_inputs.Look) -> dict[str, Any]:
    """An explanation from draws, and the scores of the same words counted in all inputs."""
    sampled = study.explain(look.query, exact=False, epsilon=look.epsilon, seed=SEED).best
    document = told(sampled)
    if sampled.expression is None:
        return document
    counted = explain_inputs.counted(checked_condition(study.task, sampled.expression), look)
    scores = {GENERATION: counted.generation} | detection_scores(counted.shares, counted.base, exact=True)
    return document | {"exact": {name: scores[name].value for name in WITH_INTERVALS}}


# All combinations of literals


class Literal(NamedTuple):
    """A condition on one quantity."""

    text: str
    holds: Bool[np.ndarray, " row"]


def combined(task: Task, look: explain_inputs.Look) -> dict[str, Any]:
    """The best of all combinations of up to three literals by `and` and `or`, by detection in all inputs."""
    evidence = both_sides(look.evidence)
    weights = signed_weights(evidence)
    literals = literals_of(task, evidence, look, weights)
    best = _best_of(task, look, shortlist(literals, weights))
    return best | {"literals": len(literals)}


def literals_of(
    task: Task, evidence: Evidence, look: explain_inputs.Look, weights: Float[np.ndarray, " row"]
) -> list[Literal]:
    """The distinct ones that are worth most alone."""
    query = look.query
    own = padded_row(task, query).numpy()[:, : evidence.tokens.shape[1]]
    tokens = torch.from_numpy(np.concatenate([evidence.tokens, own]).astype(np.int64))
    positions = torch.from_numpy(np.append(evidence.positions, query.position).astype(np.int64))
    distinct: dict[bytes, Literal] = {}
    for quantity in quantities(task, tokens, positions, query.role):
        for text, holds in _conditions(quantity):
            distinct.setdefault(np.packbits(holds[:-1]).tobytes(), Literal(text, holds[:-1]))
    return sorted(distinct.values(), key=lambda one: -float(weights[one.holds].sum()))[:LITERALS]


def _conditions(quantity: Quantity) -> Iterator[tuple[str, Bool[np.ndarray, " row"]]]:
    """Equal to the query's value, which is that of the last row; and at least and at most every value."""
    own, codes = int(quantity.codes[-1]), quantity.codes
    if quantity.yes_no:
        yield _yes_no(quantity, own).text, codes == own
        return
    if quantity.values[own]:
        yield f"{quantity.text} == {quantity.values[own]}", codes == own
    for code, value in enumerate(quantity.values[1:], start=1) if quantity.ordered else ():
        yield f"{quantity.text} >= {value}", codes >= code
        yield f"{quantity.text} <= {quantity.values[code - 1]}", codes < code


def shortlist(literals: Sequence[Literal], weights: Float[np.ndarray, " row"]) -> list[str]:
    """The combinations that are worth most: all of one literal, of two and of three."""
    if not literals:
        return []
    holds = np.stack([one.holds for one in literals], axis=1).astype(np.float32)
    weights = weights.astype(np.float32)
    alone = weights @ holds
    both = (holds * weights[:, None]).T @ holds
    texts = [one.text for one in literals]
    best = [(float(worth), text) for worth, text in zip(alone, texts, strict=True)]
    best += _top(both, lambda a, b: f"{texts[a]} and {texts[b]}")
    best += _top(alone[:, None] + alone - both, lambda a, b: f"{texts[a]} or {texts[b]}")
    for c, text in enumerate(texts):
        rows = holds[:, c] > 0
        all_three = (holds[rows] * weights[rows, None]).T @ holds[rows]
        with_c = both[c]
        best += _top(all_three, partial("{2} and {1} and {0}".format, text), texts)
        best += _top(both + alone[c] - all_three, partial("({2} and {1}) or {0}".format, text), texts)
        either = with_c[:, None] + with_c - all_three
        best += _top(either, partial("({2} or {1}) and {0}".format, text), texts)
        any_of = alone[:, None] + alone - both + alone[c] - either
        best += _top(any_of, partial("{2} or {1} or {0}".format, text), texts)
        best = sorted(set(best), key=lambda one: -one[0])[:SHORTLIST]
    return [text for _, text in best]


def _top(
    worth: Float[np.ndarray, "one other"], text: Callable[..., str], names: Sequence[str] | None = None, n: int = 5
) -> list[tuple[float, str]]:
    """Some of the pairs that are worth most."""
    flat = worth.ravel()
    found = []
    for at in np.argpartition(-flat, min(n, len(flat) - 1))[:n].tolist():
        a, b = divmod(at, worth.shape[1])
        found.append((float(flat[at]), text(a, b) if names is None else text(names[a], names[b])))
    return found


# Sites


def of_sites(study: Study, wanted: Sites, done: Sequence[Any] = ()) -> Iterator[list[Any]]:
    """A sentence a site, with scores, and how often the model uses it; all so far, a step at a time."""
    sites = list(done)
    have = {one["site"] for one in sites}
    for site in wanted.sites:
        if site not in have:
            options = {"queries": wanted.queries, "written": wanted.written, "used": wanted.used is None}
            sites.append(of_site(study, wanted, site, **options))
            yield sites
    for one in sites:
        if wanted.used is not None and "used" not in one:
            queries, written = wanted.used
            few = of_site(study, wanted, one["site"], queries=queries, written=written, used=True)
            one["used"] = few.get("used")
            yield sites


def of_site(study: Study, wanted: Sites, site: str, **options: Any) -> dict[str, Any]:
    """What one site says."""
    [one] = study.explain_sites([site], wanted.at, epsilon=wanted.epsilon, seed=SEED, **options).sites
    document: dict[str, Any] = convert.plain(one)
    return document


def heads(study: Study) -> tuple[str, ...]:
    """All heads."""
    return tuple(site for site in study.sites if site.startswith("a"))


# Parts

TRUTHS = {
    "truth-addition": ("addition", 10), "truth-ioi": ("ioi-small", 6), "truth-counting": ("counting", 10),
    "truth-facts": ("facts-small", 10),
}  # fmt: skip
"""Studies, and how many sites and positions of each."""
GIVEN = {"counting": "counts"}
"""By which part of a domain the truth is told that cannot be listed as a whole."""
LARGEST_PART, _TRIED = 60_000, 20
"""Inputs of it at most, and inputs that are looked through for each that has so small a part."""
SITES = {
    "sites-addition": ("addition", "="),
    "sites-smollm2-ioi": ("ioi", "END"),
    "sites-facts-small": ("facts-small", "END"),
    "sites-ioi-small": ("ioi-small", "END"),
    "sites-counting": ("counting", ":"),
}
"""Studies, and the position."""
PARTS = ("truth-addition", "sites-addition", "sites-smollm2-ioi", "truth-ioi", "sites-facts-small", "truth-facts",
         "sites-ioi-small", "sites-counting", "truth-counting")  # fmt: skip
EPSILONS = {"facts-small": "null:0.01"}
"""Where that of the study leaves most activations fewer members than can be scored."""
QUERIES = {"counting": 5}
"""Activations a site, where it takes long."""
SMOLLM2_EPSILON = "null:0.01"


def measure(part: str, before: Any = None) -> None:
    """Measure one part, and go on with what there is of it."""
    before = before or {}
    if part in TRUTHS:
        name, pairs = TRUTHS[part]
        study = load_study(name, device="cpu")
        document = {"study": name, "pairs": pairs, "inputs": INPUTS, "sampled": SAMPLED, "epsilon": 0.1}
        document |= {"given": words_of(study, GIVEN[name])} if name in GIVEN else {}
        for groups in truth(study, Sizes(pairs), before.get("groups", [])):
            keep(part, document | {"groups": groups})
            print(f"{part}: {len(groups)} of {pairs}", file=sys.stderr, flush=True)
        return
    study, wanted = sites_wanted(part)
    document = {"study": study.name, "at": wanted.at, "queries": wanted.queries, "written": wanted.written,
                "epsilon": wanted.epsilon or study.criterion.largest, "of": len(wanted.sites)}  # fmt: skip
    for sites in of_sites(study, wanted, before.get("sites", [])):
        keep(part, document | {"sites": sites})
        if wanted.epsilon is None and study.folder is not None:  # the viewer's map shows them
            explained = convert.parsed(list[SiteExplanation], rounded(sites, ".4g"), part)
            write_explanations(study.folder, study.parts.fingerprint, explained)
        print(f"{part}: {len(sites)} of {len(wanted.sites)}", file=sys.stderr, flush=True)


def words_of(study: Study, given: str) -> str:
    """What a part of a domain is, in words that go after `inputs`."""
    assert isinstance(study.task, Restrictable)
    return study.task.restrictions[given]


def sites_wanted(part: str) -> tuple[Study, Sites]:
    """A study, and its sites that are put into words."""
    name, at = SITES[part]
    if part != "sites-smollm2-ioi":
        study = load_study(name, device="cpu")
        return study, Sites(name, heads(study), at, QUERIES.get(name, 20), epsilon=EPSILONS.get(name))
    chosen = json.loads((ROOT / "benchmarks" / "chosen_sites.json").read_text(encoding="utf-8"))["ioi"]["sites"]
    study = open_study("ioi", model=smollm2(), begin=BEGIN)
    sites = tuple(chosen)
    # One pass for all: what is asked for later is found in the bank that is in memory.
    bank_for(study.parts, [study.probed.site(site) for site in sites], [at])
    return study, Sites(name, sites, at, 10, 50, SMOLLM2_EPSILON, (10, 25))


def main(args: Sequence[str] | None = None) -> int:
    """Measure the parts that are named, by default all."""
    args = list(sys.argv[1:] if args is None else args)
    names = [arg for arg in args if not arg.startswith("-")] or list(PARTS)
    for name in names:
        if name not in PARTS:
            print(f"there is no part {name!r}: use {' or '.join(PARTS)}", file=sys.stderr)
            return 2
        measure(name, None if "--again" in args else read().get(name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
