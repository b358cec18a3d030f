"""Which ε a reading takes: a number, or what `null:0.01` and `causal:0.05` come to for its query."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch

from inversionview.criterion import EpsilonRule, parse_epsilon
from inversionview.decoder.model import Decoder
from inversionview.preimage.epsilon.causal import causal_epsilon
from inversionview.preimage.epsilon.curve import Calibrated
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.sources.proposals import DecoderSource, PriorSource, Source, query_generator
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import Tokens
from inversionview.tasks.base import Task

TRIED = 1000
"""Inputs that each source proposes for a causal ε."""


class Epsilon(NamedTuple):
    """An ε for one query, and where it comes from in words; no words where it was given."""

    value: float
    words: str = ""


def epsilons_of(
    given: str | float | EpsilonRule,
    queries: Sequence[Query],
    *,
    probed: ProbedModel,
    task: Task,
    decoder: Decoder | None,
    metric: str,
    position_rule: str,
    seed: int,
) -> list[Epsilon]:
    """The ε of each query.

    A null ε is of the query's site and role, since at early positions unrelated inputs have the very same activation.
    A causal one is of the query itself, tried with inputs from the decoder, if there is one, and from the prior.
    Raises `UserError` for a rule that cannot be read, or that no ε fulfils.
    """
    rule = parse_epsilon(given)
    if rule.kind == "constant":
        return [Epsilon(rule.value)] * len(queries)

    def calibrate(query: Query) -> Calibrated:
        if rule.kind == "causal":
            tried = _tried(query, probed, task, decoder, seed)
            return causal_epsilon(probed, task, query, rule.value, tried, metric=metric, position_rule=position_rule)
        generator = torch.Generator().manual_seed(seed)
        found = null_epsilon(
            probed,
            task,
            [query.site],
            rule.value,
            metric=metric,
            position_rule=position_rule,
            role=query.role,
            generator=generator,
        )
        return found[query.site]

    def same(query: Query) -> Hashable:
        return (query.site, query.role) if rule.kind == "null" else query

    known = {same(query): query for query in queries}
    calibrated = {key: calibrate(query) for key, query in known.items()}
    found = [calibrated[same(query)] for query in queries]
    return [Epsilon(one.epsilon, f"{rule}: {one.detail}") for one in found]


def _tried(query: Query, probed: ProbedModel, task: Task, decoder: Decoder | None, seed: int) -> Tokens:
    """Inputs near and far from the query activation."""
    sources: list[Source] = [PriorSource(task, TRIED)]
    if decoder is not None:
        sources += [DecoderSource(decoder, TRIED, temperature) for temperature in (1.0, 2.0)]
    z_q = query_activations(probed, task, [query])
    drawn = [s.propose(z_q, [query], [query_generator(seed, f"causal {s.name}", query)]).tokens[0] for s in sources]
    return torch.cat(drawn)
