"""Inputs around an activation by which words about it are found and scored, and inputs that fit the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.bank.bank import Bank
from inversionview.criterion import Criterion
from inversionview.expressions import Expression
from inversionview.preimage.distance import pairwise_distances
from inversionview.preimage.domain import checked_enumerable, uniform_log_prior
from inversionview.preimage.exact import exact_distances
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.sources.banked import all_distances
from inversionview.reading.explanation.evidence import KINDS, Evidence, Shares, of_all, of_sample, share_of
from inversionview.reading.explanation.finding import holds_for
from inversionview.reading.hypotheses import is_row
from inversionview.reading.information import codes_of, prior_draws
from inversionview.results.estimators import clopper_pearson
from inversionview.results.explanation import GENERATION, OTHERS, Score
from inversionview.results.preimage import Query
from inversionview.seeds import mixed
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.studies.banks import bank_for
from inversionview.studies.parts import Parts, counts_all, decoder_for, measured
from inversionview.studies.settings import ExplainSettings, ReadSettings
from inversionview.studies.verbs.read import read
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role

OTHER_ACTIVATIONS = 20
MOST_DISTANCES = 2**28
"""Of all inputs of a domain from several activations, that are held at once; 4 bytes each."""
_ROUNDS = 20
"""Times 20,000 draws from the prior are looked through for inputs that fit."""
EVIDENCE, WRITTEN, OTHER, QUERIES, ASKED = range(5)
"""Streams of random numbers, each of its own seed."""


class Look(NamedTuple):
    """One activation, and inputs around it."""

    query: Query
    epsilon: float
    evidence: Evidence
    whole: Whole | None
    """All inputs of the domain, where they were counted."""
    distances: Float[np.ndarray, " input"] | None
    """And how far each of them is."""


# What lies around an activation


def looks(parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings) -> Iterator[Look]:
    """What lies around activations at one site and role: all inputs where they are counted, or a bank, or draws."""
    exact = counts_all(parts) if settings.exact is None else settings.exact
    if exact:
        checked_enumerable(parts.task)
        yield from _of_domain(parts, queries, criterion, settings)
    elif decoder_for(parts, queries) is None:
        yield from _of_bank(parts, queries, criterion, settings)
    else:
        yield from _of_draws(parts, queries, criterion, settings)


def stream(query: Query, settings: ExplainSettings, purpose: int) -> Generator:
    """Random numbers of a query, for one purpose."""
    return Generator().manual_seed(mixed(settings.seed, purpose, query.position, *query.tokens))


@dataclass(eq=False)
class Whole:
    """All inputs of a domain, and where they have a role."""

    task: Task
    role: str
    _codes: dict[str, Int[np.ndarray, " input"]] = field(default_factory=dict)

    @cached_property
    def tokens(self) -> Int[np.ndarray, "input pos"]:
        small = np.int16 if max(self.task.vocab_size, self.task.max_length) < 2**15 else np.int32
        return np.concatenate([block.numpy().astype(small) for block in self.task.enumerate()])

    @cached_property
    def positions(self) -> Int[np.ndarray, " input"]:
        blocks = (eligible_role(self.task, block, self.role).numpy() for block in self.task.enumerate())
        return np.concatenate([block.astype(np.int16) for block in blocks])

    def codes(self, name: str) -> Int[np.ndarray, " input"]:
        """The value of a feature in each input, by its code; what is given where one lacks the role means nothing."""
        if name not in self._codes:
            blocks = []
            for start in range(0, len(self.tokens), 65_536):
                rows = slice(start, start + 65_536)
                tokens = torch.from_numpy(self.tokens[rows]).long()
                positions = torch.from_numpy(self.positions[rows]).long().clamp_min(0)
                blocks.append(codes_of([self.task.features[name]], tokens, positions)[0].astype(np.int16))
            self._codes[name] = np.concatenate(blocks)
        return self._codes[name]

    @cached_property
    def prior(self) -> Float[np.ndarray, " input"] | None:
        """In proportion to it; None where all are as probable."""
        if uniform_log_prior(self.task) is not None:
            return None
        log_prior = np.concatenate([self.task.log_prior(block).double().numpy() for block in self.task.enumerate()])
        return np.asarray(np.exp(log_prior - log_prior.max()))


def _of_domain(
    parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings
) -> Iterator[Look]:
    task, whole = parts.task, Whole(parts.task, queries[0].role)
    limits = [epsilon.value for epsilon in measured(parts, queries, criterion, settings.seed)]
    together = max(1, MOST_DISTANCES // (task.size or 1))
    for start in range(0, len(queries), together):
        some = slice(start, start + together)
        table = exact_distances(parts.probed, task, queries[some], criterion=criterion.but(limits[some]))
        yield from _of_table(whole, queries[some], limits[some], table, settings)


def _of_table(
    whole: Whole,
    queries: Sequence[Query],
    limits: Sequence[float],
    table: Float[np.ndarray, "query input"],
    settings: ExplainSettings,
) -> Iterator[Look]:
    for query, epsilon, distances in zip(queries, limits, table, strict=True):
        evidence = of_all(
            whole.tokens, whole.positions, distances, whole.prior, epsilon=epsilon, query=query.tokens,
            generator=stream(query, settings, EVIDENCE),
        )  # fmt: skip
        yield Look(query, epsilon, evidence, whole, distances)


def _of_bank(parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings) -> Iterator[Look]:
    bank: Bank = bank_for(parts, [Site.named(queries[0].site)], [queries[0].role], n=settings.n)
    epsilons = measured(parts, queries, criterion, settings.seed, bank=bank)
    activations = query_activations(parts.probed, parts.task, queries)
    positions = bank.positions(queries[0].role).numpy()
    for query, epsilon, z_q in zip(queries, epsilons, activations, strict=True):
        evidence = of_all(
            bank.tokens.numpy(), positions, all_distances(bank, query, z_q, criterion.metric).numpy(), None,
            epsilon=epsilon.value, query=query.tokens, generator=stream(query, settings, EVIDENCE),
        )  # fmt: skip
        yield Look(query, epsilon.value, evidence, None, None)


def _of_draws(
    parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings
) -> Iterator[Look]:
    sampling = ReadSettings(n=settings.n, seed=settings.seed, temperatures=(1.0, 2.0), prior_share=0.4, colors=False)
    for query in queries:
        [preimage] = read(parts, [query], criterion, sampling)
        random = np.array([times.get("prior", 0) for times in preimage.sources])
        yield Look(query, preimage.epsilon, of_sample(preimage, random, stream(query, settings, EVIDENCE)), None, None)


# What is tried on them


class Counted(NamedTuple):
    """What an expression holds for, over all inputs of a domain."""

    shares: dict[int, Shares]
    base: Shares
    generation: Score


def counted(expression: Expression, look: Look) -> Counted:
    """The same of all inputs, and which of those that fit are members."""
    whole, distances = look.whole, look.distances
    assert whole is not None
    assert distances is not None
    there = np.isfinite(distances) & ~is_row(whole.tokens, look.query.tokens)
    holds = there & np.asarray(expression({name: whole.codes(name) for name in expression.features}))
    weights = np.ones(len(distances)) if whole.prior is None else whole.prior
    inside = there & (distances.astype(np.float64) <= look.epsilon)
    outside = there & ~inside
    near = outside
    if n_near := look.evidence.near:
        near = outside & (distances <= np.partition(distances[outside], n_near - 1)[n_near - 1])
    shares = {
        kind: share_of(holds[rows], weights[rows])
        for kind, rows in zip(KINDS, (inside, near, outside), strict=True)
        if rows.any()
    }
    fitting = share_of(inside[there & holds], weights[there & holds])
    floor = share_of(inside[there], weights[there]).share
    n = int((there & holds).sum())
    generation = Score(fitting.share, (fitting.share, fitting.share), floor, n) if n else _no_fit(floor)
    return Counted(shares, share_of(holds[there], weights[there]), generation)


def _no_fit(floor: float) -> Score:
    return Score(None, None, floor, 0, "no input fits it but the query's own")


class Written:
    """Inputs of the prior that fit an explanation, and the activations of other inputs at one site and role."""

    def __init__(self, parts: Parts, query: Query, criterion: Criterion, settings: ExplainSettings) -> None:
        self.parts, self.role, self.site = parts, query.role, parts.probed.site(query.site)
        self.metric, self.settings = criterion.metric, settings
        self.drawn = self.with_role(prior_draws(parts.task))

    def with_role(self, tokens: Tokens) -> tuple[Tokens, Positions]:
        """Those of some inputs that have the query's role, and where."""
        positions = eligible_role(self.parts.task, tokens, self.role)
        return tokens[positions >= 0], positions[positions >= 0]

    def _fits(self, expression: Expression, drawn: tuple[Tokens, Positions]) -> Bool[np.ndarray, " draw"]:
        return holds_for(self.parts.task, expression, *(part.numpy() for part in drawn))

    def base(self, expression: Expression) -> Shares:
        """For which share of random inputs an explanation holds."""
        holds = self._fits(expression, self.drawn)
        return Shares(float(holds.mean()), float(len(holds)))

    @cached_property
    def others(self) -> Float[Tensor, "query width"]:
        """Activations of random inputs."""
        generator = Generator().manual_seed(mixed(self.settings.seed, OTHER))
        tokens, positions = self.with_role(self.parts.task.sample(20 * OTHER_ACTIVATIONS, generator=generator))
        z = self._activations(tokens[:OTHER_ACTIVATIONS], positions[:OTHER_ACTIVATIONS])
        return z[z.norm(dim=1) > 0]

    def _activations(self, tokens: Tokens, positions: Positions) -> Float[Tensor, "row width"]:
        return self.parts.probed.capture(tokens, [self.site], positions)[self.site].float().cpu()

    def fitting(self, expression: Expression, query: Query) -> tuple[Tokens, Positions]:
        """Inputs from the prior that fit, none of them the query's; fewer where they are very rare."""
        task, wanted = self.parts.task, self.settings.written
        generator = stream(query, self.settings, WRITTEN)
        kept: list[tuple[Tokens, Positions]] = []
        drawn = self.drawn
        order = torch.randperm(len(drawn[0]), generator=generator)
        drawn = drawn[0][order], drawn[1][order]
        for _ in range(_ROUNDS):
            fits = self._fits(expression, drawn) & ~is_row(drawn[0].numpy(), query.tokens)
            rows = torch.from_numpy(np.flatnonzero(fits))
            kept.append((drawn[0][rows], drawn[1][rows]))
            if sum(len(tokens) for tokens, _ in kept) >= wanted:
                break
            drawn = self.with_role(task.sample(len(order), generator=generator))
        tokens, positions = (torch.cat(part)[:wanted] for part in zip(*kept, strict=True))
        return tokens, positions

    def tried(self, expression: Expression, look: Look) -> dict[str, Score]:
        """Inputs that fit, run through the model: which are inside ε of the query's activation, and of others'."""
        tokens, positions = self.fitting(expression, look.query)
        return self.inside(tokens, positions, look, len(tokens))

    def inside(self, tokens: Tokens, positions: Positions, look: Look, n: int) -> dict[str, Score]:
        """Which of `n` inputs are members, of which these are all that could be run."""
        floor = look.evidence.base_rate.share
        if not n:
            return {GENERATION: _no_fit(floor), OTHERS: dataclasses.replace(_no_fit(floor), floor=None)}
        hits, means = 0, np.zeros(len(self.others))
        if len(tokens):
            z_q = query_activations(self.parts.probed, self.parts.task, [look.query])[0]
            z = self._activations(tokens, positions)
            apart = pairwise_distances(torch.stack([z_q, *self.others]), z, self.metric).double() <= look.epsilon
            hits, means = int(apart[0].sum()), apart[1:].sum(dim=1).numpy() / n
        scores = {GENERATION: Score(hits / n, clopper_pearson(hits, n), floor, n)}
        if len(means):
            error, mean = 2 * float(means.std()) / max(1, len(means) - 1) ** 0.5, float(means.mean())
            scores[OTHERS] = Score(mean, (max(0.0, mean - error), min(1.0, mean + error)), None, n * len(means))
        return scores
