"""From what is asked to a question for the worker: checked, with a key that is the same for the same question."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable
from inversionview.progress import advance, stage
from inversionview.reading.hypotheses import as_hypothesis
from inversionview.report.hypotheses import packed
from inversionview.report.reading import visible
from inversionview.report.wire import pack_causal, pack_explanations, pack_map, pack_overlap, pack_reading, with_colors
from inversionview.results.preimage import Preimage, Query
from inversionview.studies.kept_map import keep_map
from inversionview.studies.parts import checked_site
from inversionview.studies.study import Study
from inversionview.studies.verbs.explain_by_features import explained_draws
from inversionview.studies.verbs.overlap import overlap as find_overlap
from inversionview.studies.verbs.read import drawn_whatever_epsilon, reread
from inversionview.web.jobs import Answer, Cache, Kept, Question
from inversionview.web.requests import (
    AttentionRequest,
    CausalRequest,
    ExactRequest,
    ExplainRequest,
    MapRequest,
    OverlapRequest,
    ReadRequest,
    TestRequest,
)
from inversionview.web.settings import Limits

MOST_COLUMNS = 32
"""Features whose values the page has beside inputs."""
_ACTIVATION = ("epsilon", "metric", "position_rule", "seed")


def checked_input(text: str, limits: Limits) -> str:
    """An input that is not too long. Raises `UserError`."""
    if len(text) > limits.input_characters:
        raise UserError(
            f"an input may have {limits.input_characters:,} characters here, and this one has {len(text):,}"
        )
    return text


def read(study: Study, request: ReadRequest, limits: Limits, cache: Cache | None = None) -> Question:
    """A sampled reading; at another ε than before, of the draws that `cache` keeps."""
    query = _query(study, request.input, request.at, request.site, limits)
    _check_count("n", request.n, limits.samples)
    settings = request.model_dump(include={*_ACTIVATION, "n", "temperatures", "prior_share", "also"})

    draws = _key(study, "draws", query, {**settings, "epsilon": None})

    def draw() -> Preimage:
        if cache is None or not drawn_whatever_epsilon(study.parts, query, request.also):
            return study.preimage(query, **settings)
        if (kept := cache.get(draws)) is not None and kept.preimage is not None:
            criterion = study.criterion.but(request.epsilon, request.metric, request.position_rule)
            return reread(study.parts, kept.preimage, criterion, request.seed)
        preimage = study.preimage(query, explain=False, **settings)
        cache.put(draws, Kept(b"", preimage, 0.0))
        return preimage

    def run() -> Answer:
        preimage = _with_columns(study, draw(), request.columns)
        uncolored = _packed(preimage)
        if preimage.explanation is None and drawn_whatever_epsilon(study.parts, query, request.also):
            with stage("explain", 1, partial=uncolored):
                [preimage] = explained_draws(study.parts, [preimage], request.seed)
            uncolored = _packed(preimage)
        if preimage.colors is None:
            return Answer(uncolored, preimage)
        with stage("color", len(preimage), partial=uncolored):
            return Answer(with_colors(uncolored, np.asarray(preimage.colors)), preimage)

    return Question(_key(study, "read", query, settings, request.columns), run, partial=lambda document: document)


def _packed(preimage: Preimage) -> dict[str, Any]:
    return pack_reading(dataclasses.replace(preimage, colors=None).to_reading())


def first(study: Study, document: Mapping[str, Any], limits: Limits, cache: Cache) -> Question:
    """What the page asks when it opens a study: its start, with the settings and the columns that the page begins with.

    `document` is what the page was told about the study.
    """
    columns = [feature["name"] for feature in document["features"] if not feature["unasked"]][:MOST_COLUMNS]
    asked = {name: document["start"][name] for name in ("input", "at", "site")} | {"columns": columns}
    if document["has_decoder"] or not document["enumerable"]:
        return read(study, ReadRequest(**asked), limits, cache)
    return exact(study, ExactRequest(**asked), limits)


def exact(study: Study, request: ExactRequest, limits: Limits) -> Question:
    """The exact preimage."""
    query = _query(study, request.input, request.at, request.site, limits)
    _check_count("n", request.n, limits.samples)
    if request.given is None:
        checked_enumerable(study.task)
    settings = request.model_dump(include={*_ACTIVATION, "given"})

    def run() -> Answer:
        preimage = study.exact_preimage(query, curve=True, **settings)
        document = pack_reading(_with_columns(study, preimage, request.columns).to_reading(request.n))
        return Answer(document, preimage)  # half a million members are kept without the columns of a few of them

    return Question(_key(study, "exact", query, settings, request.columns, request.n), run)


def coverage(study: Study, request: ReadRequest, limits: Limits, cache: Cache) -> Question:
    """What a sampled reading reached of the exact preimage; what is kept of either is not made again."""
    checked_enumerable(study.task)
    sampled = read(study, request, limits)
    whole = exact(
        study, ExactRequest(**request.model_dump(exclude={"temperatures", "prior_share", "also", "n"})), limits
    )

    def run() -> Answer:
        sample, everything = _preimage_of(sampled, cache), _preimage_of(whole, cache)
        comparison = study.compare(sample, everything)
        counts = {"found": sample.n_inside, "members": everything.n_inside}
        return Answer({**counts, **comparison.to_dict()})

    return Question(_key(study, "coverage", sampled.key, whole.key), run)


def overlap(study: Study, request: OverlapRequest, limits: Limits, cache: Cache) -> Question:
    """Which members two readings share; what is kept of either is not made again."""
    asked = [
        read(study, one, limits, cache) if isinstance(one, ReadRequest) else exact(study, one, limits)
        for one in (request.first, request.second)
    ]

    def run() -> Answer:
        first, second = (_preimage_of(question, cache) for question in asked)
        return Answer(pack_overlap(find_overlap(study.parts, first, second)))

    return Question(_key(study, "overlap", *(question.key for question in asked)), run)


def map_(study: Study, request: MapRequest, limits: Limits) -> Question:
    """What every site knows at every named position."""
    if request.input is not None:
        study.task.encode(checked_input(request.input, limits))
    if request.queries is not None:
        _check_count("queries", request.queries, limits.map_queries)
    settings = request.model_dump(exclude={"input"})

    def run() -> Answer:
        bits = study.map(request.input, **settings)
        if request == MapRequest():
            keep_map(study, bits)
        return Answer(pack_map(bits))

    return Question(_key(study, "map", request.input, settings), run)


def test(study: Study, request: TestRequest, limits: Limits) -> Question:
    """A hypothesis, on all sites that were named."""
    queries = [_query(study, request.input, request.at, site, limits) for site in request.sites]
    _check_count("n", request.n, limits.samples)
    as_hypothesis(study.task, request.hypothesis, queries[0])  # a mistyped one waits behind nothing
    settings = request.model_dump(exclude={"input", "at", "sites", "hypothesis"})

    def run() -> Answer:
        tests = [packed(result) for result in study.test(queries, request.hypothesis, **settings)]
        return Answer({"schema": 1, "study": study.name, "input": queries[0].input, "tests": tests})

    return Question(_key(study, "test", *queries, request.hypothesis, settings), run)


def explain(study: Study, request: ExplainRequest, limits: Limits) -> Question:
    """What sites say at a position, each from activations of random inputs."""
    sites = study.select_sites(request.sites)
    _check_count("queries", request.queries, limits.map_queries)
    settings = request.model_dump(exclude={"sites", "at"})

    def run() -> Answer:
        explained = study.explain_sites(sites, request.at, **settings)
        in_words = {one.site: one.line for one in explained.sites}
        return Answer({**pack_explanations(explained), "in_words": in_words})

    return Question(_key(study, "explain", sites, request.at, settings), run)


def causal(study: Study, request: CausalRequest, limits: Limits) -> Question:
    """Whether what is encoded is used."""
    query = _query(study, request.input, request.at, request.site, limits)
    _check_count("n", request.n, limits.samples)
    settings = request.model_dump(exclude={"input", "at", "site"})

    def run() -> Answer:
        return Answer(pack_causal(study.causal(query, **settings)))

    return Question(_key(study, "causal", query, settings), run)


def attention(study: Study, request: AttentionRequest, limits: Limits) -> Question:
    """Attention probabilities of all heads, or of those of one layer."""
    tokens = study.task.encode(checked_input(request.input, limits))
    strings = study.task.token_strings(tokens)
    layers = range(study.probed.n_layers) if request.layer is None else [request.layer]
    if request.layer is not None and request.layer >= study.probed.n_layers:
        raise UserError(f"{study.name} has layers 0 to {study.probed.n_layers - 1}, not {request.layer}")
    values = len(layers) * study.probed.n_heads * len(strings) ** 2
    if values > limits.attention_values:
        raise UserError(
            f"the attention of {len(layers)} layers over {len(strings)} tokens is {values:,} numbers, and "
            f"{limits.attention_values:,} are sent at most: ask for one layer, or a shorter input"
        )

    def run() -> Answer:
        patterns = []
        with stage("attention", len(layers)):
            for layer in layers:
                pattern = study.probed.attention(tokens[None, : len(strings)], layer)[0]
                patterns.append(
                    [[[round(v, 4) for v in row] for row in head] for head in pattern.float().cpu().tolist()]
                )
                advance(1)
        return Answer({"tokens": list(map(visible, strings)), "first_layer": layers[0], "layers": patterns})

    return Question(_key(study, "attention", tokens.tolist(), request.layer), run)


def _preimage_of(question: Question, cache: Cache) -> Preimage:
    kept = cache.get(question.key)
    preimage = question.run().preimage if kept is None else kept.preimage
    assert preimage is not None
    return preimage


def _query(study: Study, text: str, at: str, site: str, limits: Limits) -> Query:
    checked_site(study.parts, site)
    return study.query(checked_input(text, limits), at or None, site)


def _check_count(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise UserError(f"{name} may be at most {limit:,} here, not {value:,}")


def _with_columns(study: Study, preimage: Preimage, names: list[str] | None) -> Preimage:
    return preimage if names is None else study.with_columns(preimage, names)


def _key(study: Study, *parts: Any) -> str:
    """32 hex digits of all that decides an answer."""

    def plain(part: Any) -> Any:
        return dataclasses.asdict(part) if dataclasses.is_dataclass(part) and not isinstance(part, type) else part

    identity = json.dumps(
        [study.name, study.parts.fingerprint, str(study.folder or id(study)), *map(plain, parts)], sort_keys=True
    )
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
