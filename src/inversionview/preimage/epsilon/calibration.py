"""Which ε a reading takes: a number, or what `null:0.01` and `causal:0.05` come to for its query."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch

from inversionview.bank.bank import Bank
from inversionview.criterion import Criterion, EpsilonRule, SiteEpsilons
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.preimage.epsilon.causal import causal_epsilon
from inversionview.preimage.epsilon.curve import Calibrated
from inversionview.preimage.epsilon.null import FEWEST_INSIDE, bank_epsilon, null_epsilon
from inversionview.preimage.rounding import cell_floors
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.sources.proposals import DecoderSource, PriorSource, Source, query_generator
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import Tokens
from inversionview.tasks.base import Task
from inversionview.tasks.text.sampling import affordable

TRIED = 1000
"""Inputs that each source proposes for a causal ε."""
NULL_PAIRS, FEWEST_PAIRS = 5000, 1000
"""Pairs of unrelated inputs by which the ε of each site is measured, in a small model and in a large one."""


QUERY_PAIRS, FEWEST_QUERY_PAIRS = 20_000, 2000
"""And those by which the ε of one query is, at most so many."""


class Epsilon(NamedTuple):
    """An ε for one query, and where it comes from in words; no words where it was given."""

    value: float
    words: str = ""
    rounding: float = 0.0
    """Distance up to which the model's half precision sets one input apart from itself there; 0 in wider types."""


def epsilons_of(
    criterion: Criterion,
    queries: Sequence[Query],
    *,
    probed: ProbedModel,
    task: Task,
    decoder: Decoder | None,
    seed: int,
    bank: Bank | None = None,
) -> list[Epsilon]:
    """The ε of each query.

    A null ε is of the query's site and role, since at early positions unrelated inputs have the very same activation;
    it is measured in the bank, if there is one.
    A causal one is of the query itself, tried with inputs from the decoder, if there is one, and from the prior.
    Raises `UserError` for a rule that no ε fulfils.
    """
    rule = criterion.epsilon
    if not isinstance(rule, EpsilonRule) or rule.kind == "constant":
        words = f"{rule} of the study" if isinstance(rule, SiteEpsilons) else ""
        limits = criterion.limits([query.site for query in queries])
        roundings = _roundings(criterion, queries, probed, task)
        return [Epsilon(limit, words, rounding) for limit, rounding in zip(limits, roundings, strict=True)]

    def calibrate(query: Query) -> Calibrated:
        if rule.kind == "causal":
            tried = _tried(query, probed, task, decoder, seed)
            return causal_epsilon(probed, task, query, rule.value, tried, criterion=criterion)
        if bank is not None:
            cell = probed.site(query.site), query.role
            least = cell_floors(probed, task, [cell], metric=criterion.metric)
            found = bank_epsilon(bank, [cell], rule.value, metric=criterion.metric, least=least, seed=seed)
            return found[query.site, query.role]
        needed = math.ceil(FEWEST_INSIDE / rule.value)
        n = min(QUERY_PAIRS, max(affordable(QUERY_PAIRS, FEWEST_QUERY_PAIRS, probed), needed))
        generator = torch.Generator().manual_seed(seed)
        return null_epsilon(
            probed, task, [query.site], rule.value, criterion=criterion, n=n, role=query.role, generator=generator
        )[query.site]

    def same(query: Query) -> Hashable:
        return (query.site, query.role) if rule.kind == "null" else query

    calibrated = {key: calibrate(query) for key, query in {same(query): query for query in queries}.items()}
    measured = [calibrated[same(query)] for query in queries]
    roundings = _roundings(criterion, queries, probed, task)
    return [
        Epsilon(one.epsilon, f"{rule}: {one.detail}", rounding)
        for one, rounding in zip(measured, roundings, strict=True)
    ]


def _roundings(criterion: Criterion, queries: Sequence[Query], probed: ProbedModel, task: Task) -> list[float]:
    """See `Epsilon.rounding`; measured once for each site and role."""
    floors = cell_floors(probed, task, [(query.site, query.role) for query in queries], metric=criterion.metric)
    return [floors.get((query.site, query.role), 0.0) for query in queries]


def check_of_study(criterion: Criterion) -> None:
    """Raise `UserError` for an ε that is of one query, and so of no study."""
    if isinstance(criterion.epsilon, EpsilonRule) and criterion.epsilon.kind == "causal":
        raise UserError("a study takes a number or null:P for its epsilon; causal:T is of one query, use it in read")


def site_epsilons(
    criterion: Criterion, sites: Sequence[str], *, probed: ProbedModel, task: Task, skip: bool = False
) -> Criterion:
    """The criterion with an ε for each site, whatever the position, where its own is a null quantile.

    With `skip`, sites where that is out of reach have none, unless there are no others.
    Raises `UserError` for a causal ε, which is of one query, and as `null_epsilon` does.
    """
    check_of_study(criterion)
    rule = criterion.epsilon
    if not isinstance(rule, EpsilonRule) or rule.kind == "constant":
        return criterion
    generator = torch.Generator().manual_seed(0)
    n = max(affordable(NULL_PAIRS, FEWEST_PAIRS, probed), math.ceil(FEWEST_INSIDE / rule.value))
    same = dataclasses.replace(criterion, position_rule="same")
    measured = null_epsilon(probed, task, sites, rule.value, criterion=same, n=n, skip=skip, generator=generator)
    return criterion.but(SiteEpsilons({site: one.epsilon for site, one in measured.items()}, str(rule)))


def _tried(query: Query, probed: ProbedModel, task: Task, decoder: Decoder | None, seed: int) -> Tokens:
    """Inputs near and far from the query activation."""
    sources: list[Source] = [PriorSource(task, TRIED)]
    if decoder is not None:
        sources += [DecoderSource(decoder, TRIED, temperature) for temperature in (1.0, 2.0)]
    z_q = query_activations(probed, task, [query])
    drawn = [s.propose(z_q, [query], [query_generator(seed, f"causal {s.name}", query)]).tokens[0] for s in sources]
    return torch.cat(drawn)
