"""Inputs around an activation by which words about it are found and scored, and inputs that fit the words."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.bank.bank import Bank
from inversionview.causal.non_members import Pool
from inversionview.criterion import Metric
from inversionview.expressions import Expression
from inversionview.preimage.distance import pairwise_distances
from inversionview.preimage.domain import uniform_log_prior
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.sources.banked import all_distances
from inversionview.reading.explanation.evidence import KINDS, Evidence, Shares, of_all, of_sample, share_of
from inversionview.reading.explanation.finding import holds_for
from inversionview.reading.hypotheses import is_row
from inversionview.reading.information import codes_of, prior_draws
from inversionview.results.estimators import clopper_pearson
from inversionview.results.explanation import GENERATION, OTHERS, Score
from inversionview.results.preimage import Preimage, Query
from inversionview.seeds import mixed
from inversionview.shapes import Positions, Tokens
from inversionview.studies.parts import Parts
from inversionview.studies.settings import ExplainSettings
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
    """How far each of them is, or each of the bank; None where the inputs are draws."""
    preimage: Preimage | None = None
    """What was found of it, where that was made."""
    bank: Bank | None = None
    """The bank that the inputs are of."""

    def pool(self) -> Pool | None:
        """Those of a bank, for a causal check; None where they are not of one."""
        if self.bank is None or self.distances is None:
            return None
        positions, apart = self.bank.positions(self.query.role), torch.from_numpy(self.distances)
        inside = apart.double() <= self.epsilon
        outside, inside = apart.isfinite() & ~inside, apart.isfinite() & inside
        tokens = self.bank.tokens
        return Pool(tokens[outside], positions[outside], apart[outside], tokens[inside], positions[inside])


# What lies around an activation


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


def look_in_domain(
    whole: Whole,
    query: Query,
    epsilon: float,
    distances: Float[np.ndarray, " input"],
    settings: ExplainSettings,
    preimage: Preimage | None = None,
) -> Look:
    """All inputs, of which every distance is known."""
    evidence = of_all(
        whole.tokens, whole.positions, distances, whole.prior, epsilon=epsilon, query=query.tokens,
        generator=stream(query, settings, EVIDENCE),
    )  # fmt: skip
    return Look(query, epsilon, evidence, whole, distances, preimage)


def look_in_bank(
    bank: Bank, query: Query, epsilon: float, z_q: Float[Tensor, " width"], metric: Metric, settings: ExplainSettings
) -> Look:
    """The inputs of a bank that have the query's role."""
    distances = all_distances(bank, query, z_q, metric).numpy()
    evidence = of_all(
        bank.tokens.numpy(), bank.positions(query.role).numpy(), distances, None, epsilon=epsilon,
        query=query.tokens, generator=stream(query, settings, EVIDENCE),
    )  # fmt: skip
    return Look(query, epsilon, evidence, None, distances, bank=bank)


def look_at_draws(preimage: Preimage, settings: ExplainSettings) -> Look:
    """The candidates of a reading, of which some were drawn from the prior."""
    random = np.array([times.get("prior", 0) for times in preimage.sources])
    evidence = of_sample(preimage, random, stream(preimage.query, settings, EVIDENCE))
    return Look(preimage.query, preimage.epsilon, evidence, None, None, preimage)


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

    def __init__(
        self, parts: Parts, query: Query, metric: Metric, settings: ExplainSettings, drawn: Tokens | None = None
    ) -> None:
        """`drawn`: random inputs, by default 20,000 from the prior."""
        self.parts, self.role, self.site = parts, query.role, parts.probed.site(query.site)
        self.metric, self.settings = metric, settings
        self.drawn = self.with_role(prior_draws(parts.task) if drawn is None else drawn)

    def with_role(self, tokens: Tokens) -> tuple[Int[Tensor, "having pos"], Int[Tensor, " having"]]:
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
        apart = np.zeros((1 + len(self.others), 0))
        if len(tokens):
            z_q = query_activations(self.parts.probed, self.parts.task, [look.query])[0]
            z = self._activations(tokens, positions)
            apart = pairwise_distances(torch.stack([z_q, *self.others]), z, self.metric).double().numpy()
        return _inside(apart, look, n)


class Banked(Written):
    """The same from a bank, which holds the activations of its inputs: nothing is run."""

    def __init__(self, parts: Parts, bank: Bank, query: Query, metric: Metric, settings: ExplainSettings) -> None:
        super().__init__(parts, query, metric, settings, bank.tokens)
        self.bank = bank
        self._having = (bank.positions(self.role) >= 0).nonzero()[:, 0]

    @cached_property
    def others(self) -> Float[Tensor, "query width"]:
        """Activations of random inputs of the bank."""
        generator = Generator().manual_seed(mixed(self.settings.seed, OTHER))
        some = self._having[torch.randperm(len(self._having), generator=generator)[:OTHER_ACTIVATIONS]]
        z = self.bank.activations(self.site, self.role, some).float()
        return z[z.norm(dim=1) > 0]

    def tried(self, expression: Expression, look: Look) -> dict[str, Score]:
        """Inputs of the bank that fit, none of them on the side for finding."""
        assert look.distances is not None
        tokens, positions = (part.numpy() for part in self.drawn)
        holds = holds_for(self.parts.task, expression, tokens, positions) & ~is_row(tokens, look.query.tokens)
        evidence, width = look.evidence, tokens.shape[1]
        for_finding = np.unique(evidence.tokens[~evidence.scored], axis=0)
        holds &= ~_among(tokens, for_finding[:, :width])
        rows = self._having[torch.from_numpy(np.flatnonzero(holds))]
        generator = stream(look.query, self.settings, WRITTEN)
        rows = rows[torch.randperm(len(rows), generator=generator)[: self.settings.written]]
        z = self.bank.activations(self.site, self.role, rows).float()
        apart = np.concatenate([
            look.distances[None, rows.numpy()], pairwise_distances(self.others, z, self.metric).numpy()
        ]).astype(np.float64)  # fmt: skip
        return _inside(apart, look, len(rows))


def _among(tokens: Int[np.ndarray, "row pos"], some: Int[np.ndarray, "other pos"]) -> Bool[np.ndarray, " row"]:
    """Which inputs are some of others."""
    every = np.concatenate([some.astype(tokens.dtype), tokens])
    _, number = np.unique(every, axis=0, return_inverse=True)
    number = number.reshape(-1)
    among: Bool[np.ndarray, " row"] = np.isin(number[len(some) :], number[: len(some)])
    return among


def _inside(apart: Float[np.ndarray, "activation input"], look: Look, n: int) -> dict[str, Score]:
    """Shares of `n` inputs that are within ε of the query's activation, which is the first, and of others'."""
    floor = look.evidence.base_rate.share
    if not n:
        return {GENERATION: _no_fit(floor), OTHERS: dataclasses.replace(_no_fit(floor), floor=None)}
    within = (apart <= look.epsilon).sum(axis=1)
    hits, means = int(within[0]), within[1:] / n
    scores = {GENERATION: Score(hits / n, clopper_pearson(hits, n), floor, n)}
    if len(means):
        error, mean = 2 * float(means.std()) / max(1, len(means) - 1) ** 0.5, float(means.mean())
        scores[OTHERS] = Score(mean, (max(0.0, mean - error), min(1.0, mean + error)), None, n * len(means))
    return scores
