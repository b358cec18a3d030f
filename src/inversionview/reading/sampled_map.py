"""The map of a model whose inputs cannot be enumerated: what every site knows, from draws that stand for the domain.

All queries share one sample of the prior. Where the task can draw given what inputs share with a query, each query gets
more draws, so that narrow preimages have members too. A draw x then counts p(x) over the density of all draws together
(the balance heuristic), whoever drew it: 1 / (N + Σ_c n_c [x shares c] / mass_c), since the density of a condition is
the prior's over its mass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.preimage.distance import within_distance
from inversionview.preimage.matching import eligible_role
from inversionview.probed.model import ProbedModel
from inversionview.reading.feature_map import MapCell, query_readers
from inversionview.reading.information import chosen_features, entropy
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Conditional, Feature, Task

DRAWS = 200_000
"""Draws from the prior, shared by all queries."""
DRAWS_GIVEN = 1000
"""Draws of each query given each condition of the task."""
_BLOCK = 2048
_CHUNK = 32_768
"""Draws that are sorted by their length, so that those run together need little padding."""


@torch.no_grad()
def sampled_map(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[str],
    queries: Mapping[str, Tokens],
    *,
    epsilon: Mapping[tuple[str, str], float],
    metric: str = "euclidean",
    draws: int = DRAWS,
    draws_given: int = DRAWS_GIVEN,
    generator: Generator,
) -> list[MapCell]:
    """What each site knows at each role about every feature, for `queries[role]` `[query, pos]`; rule `same`.

    As `feature_map`, with standard errors and effective numbers of members. Entropies get the correction of Miller and
    Madow (1955). Raises `UserError` for a query that lacks its role, or an activation of norm 0.
    """
    features, places = chosen_features(task), [Site.parse(site) for site in sites]
    asked = _Asked.of(queries)
    domain = _Domain(task, asked.inputs, draws, draws_given)
    wanted = {role: query_readers(probed, task, places, role, tokens, metric) for role, tokens in queries.items()}
    width = sum(len(feature.values) for feature in features)
    found = {
        (site, role): _Counts(len(tokens), width)
        for site in places for role, tokens in queries.items() if (str(site), role) in epsilon
    }  # fmt: skip
    base = {role: np.zeros(width) for role in queries}
    for owner, tokens in domain.blocks(generator):
        at = {role: eligible_role(task, tokens, role) for role in queries}
        acts = probed.capture(tokens[:, : max(2, int(torch.stack([*at.values()]).max()) + 1)], places)
        weights = _Weights(domain, tokens)
        for role, positions in at.items():
            rows = (positions >= 0).nonzero()[:, 0]
            own = torch.arange(len(queries[role])) if owner is None else (asked.of_role[role] == owner).nonzero()[:, 0]
            if not (len(rows) and len(own)):
                continue
            one_hot = _one_hot(features, tokens[rows], positions[rows])
            if owner is None:
                base[role] += one_hot.sum(dim=0).double().numpy()
            for site in (site for site in places if (site, role) in found):
                z = acts[site][rows.to(acts[site].device), positions[rows].to(acts[site].device)].float().cpu()
                inside = within_distance(wanted[role][site][own], z, epsilon[str(site), role], metric)
                found[site, role].add(own, weights.of(asked.of_role[role][own], inside, rows), one_hot)
    return [_cell(str(site), role, features, counts, base[role], draws) for (site, role), counts in found.items()]


class _Asked(NamedTuple):
    """The distinct inputs that are read, and which of them each query of a role is."""

    inputs: Tokens
    of_role: dict[str, Int[Tensor, " query"]]

    @classmethod
    def of(cls, queries: Mapping[str, Tokens]) -> _Asked:
        inputs, which = torch.unique(torch.cat([*queries.values()]), dim=0, return_inverse=True)
        sizes = [len(tokens) for tokens in queries.values()]
        return cls(inputs, dict(zip(queries, torch.split(which, sizes), strict=True)))


class _Domain:
    """The draws that stand for the domain, and how much each counts for a query."""

    def __init__(self, task: Task, inputs: Tokens, draws: int, draws_given: int) -> None:
        self.task, self.inputs, self.draws = task, inputs, draws
        self.given: Conditional | None = task if isinstance(task, Conditional) and draws_given > 0 else None
        self.draws_given = draws_given
        self.conditions = tuple(self.given.conditions) if self.given else ()

    def blocks(self, generator: Generator) -> Iterator[tuple[int | None, Tokens]]:
        """All draws: those of the prior, for all queries (None), then those of one input alone, by its index."""
        left = self.draws
        while left:
            chunk = self.task.sample(min(left, _CHUNK), generator=generator)
            left -= len(chunk)
            length = self.task.eligible(chunk).sum(dim=1)
            for tokens in torch.split(chunk[length.argsort(stable=True)], _BLOCK):
                yield None, tokens
        if self.given is None:
            return
        for i, row in enumerate(self.inputs):
            drawn = [
                self.given.sample_given(name, row, self.draws_given, generator=generator) for name in self.conditions
            ]
            for tokens in torch.split(torch.cat(drawn), _BLOCK):
                yield i, tokens

    def weight(self, index: int, tokens: Tokens) -> Float[Tensor, " batch"]:
        """What each draw counts for one of the inputs, in units of a draw from the prior alone."""
        density = torch.ones(len(tokens), dtype=torch.float64)
        if self.given is not None:
            own = self.inputs[index]
            for name in self.conditions:
                more = self.draws_given / self.draws * np.exp(-self.given.log_mass(name, own))
                density += more * self.given.agrees(name, own, tokens)
        return 1 / density


class _Weights:
    """The weights of one block's draws, found when they are first needed: most draws are inside no preimage."""

    def __init__(self, domain: _Domain, tokens: Tokens) -> None:
        self.domain, self.tokens = domain, tokens
        self.known: dict[int, Float[Tensor, " batch"]] = {}

    def of(
        self, inputs: Int[Tensor, " query"], inside: Bool[Tensor, "query row"], rows: Int[Tensor, " row"]
    ) -> Float[Tensor, "query row"]:
        """The weights `[query, row]` of what is inside, 0 elsewhere."""
        found = torch.zeros(inside.shape)
        for i, index in enumerate(inputs.tolist()):
            if inside[i].any():
                if index not in self.known:
                    self.known[index] = self.domain.weight(index, self.tokens).float()
                found[i] = torch.where(inside[i], self.known[index][rows], 0.0)
        return found


class _Counts:
    """Weights of every value of every feature inside each query's preimage, and their squares, in fp64."""

    def __init__(self, queries: int, width: int) -> None:
        self.total, self.squares = np.zeros((queries, width)), np.zeros((queries, width))

    def add(
        self, queries: Int[Tensor, " query"], weights: Float[Tensor, "query row"], one_hot: Float[Tensor, "row value"]
    ) -> None:
        some = weights.any(dim=0).nonzero()[:, 0]
        weights, one_hot = weights[:, some], one_hot[some]
        self.total[queries.numpy()] += (weights @ one_hot).double().numpy()
        self.squares[queries.numpy()] += (weights**2 @ one_hot).double().numpy()


def _one_hot(features: Sequence[Feature], tokens: Tokens, positions: Positions) -> Float[Tensor, "batch value"]:
    """The values of all features side by side."""
    found = torch.zeros(len(tokens), sum(len(feature.values) for feature in features))
    start = 0
    for feature in features:
        found.scatter_(1, (start + feature.compute(tokens, positions))[:, None], 1.0)
        start += len(feature.values)
    return found


def _cell(
    site: str, role: str, features: Sequence[Feature], counts: _Counts, base: Float[np.ndarray, " value"], draws: int
) -> MapCell:
    ends = np.cumsum([len(feature.values) for feature in features])[:-1]
    parts = zip(*(np.split(part, ends, axis=-1) for part in (counts.total, counts.squares, base)), strict=True)
    known = [_knowledge(*part) for part in parts]
    first = len(features[0].values)
    mass, square = counts.total[:, :first].sum(axis=1), counts.squares[:, :first].sum(axis=1)
    has_role = base[:first].sum() / draws
    with np.errstate(divide="ignore", invalid="ignore"):
        size_bits, size_se = np.log2(has_role * draws / mass), np.sqrt(square) / mass / np.log(2)
        effective = np.where(mass > 0, mass**2 / square, 0.0)
    return MapCell(
        site=site,
        role=role,
        features=tuple(feature.name for feature in features),
        of=np.array([one.of for one in known]),
        size_bits=size_bits,
        bits=np.stack([one.bits for one in known], axis=1),
        divergence=np.stack([one.divergence for one in known], axis=1),
        size_se=size_se,
        bits_se=np.stack([one.se for one in known], axis=1),
        effective=effective,
    )


class _Knowledge(NamedTuple):
    """What is known of one feature, for each query; what it is without members means nothing."""

    of: float
    bits: Float[np.ndarray, " query"]
    se: Float[np.ndarray, " query"]
    divergence: Float[np.ndarray, " query"]


def _knowledge(
    total: Float[np.ndarray, "query value"],
    squares: Float[np.ndarray, "query value"],
    base: Float[np.ndarray, " value"],
) -> _Knowledge:
    """Bits about one feature, with a standard error by the delta method.

    A member of value v moves the entropy by its share of the weight times (-log2 share of v - entropy). Half of the
    correction counts as error too; and where all members agree, that one more might not.
    """
    mass, square = total.sum(axis=1), squares.sum(axis=1)
    size = np.where(square > 0, mass**2 / np.maximum(square, 1e-300), 1.0)
    mass = np.where(mass > 0, mass, 1.0)
    share = total / mass[:, None]
    surprise = -np.log2(np.where(share > 0, share, 1))
    left, of = entropy(total), float(entropy(base))
    seen = (total > 0).sum(axis=1)
    correction = np.maximum(seen - 1, 0) / (2 * size * np.log(2))
    corrected = np.minimum(left + correction, np.log2(len(base)))
    variance = (squares * (surprise - left[:, None]) ** 2).sum(axis=1) / mass**2 + (correction / 2) ** 2
    alone = (seen <= 1) & (of > 0)
    variance += np.where(alone, (np.log2(size + 1) / (size + 1)) ** 2, 0.0)
    prior = np.maximum(base, 0.5) / max(base.sum(), 0.5)  # a value that no draw from the prior has
    apart = -corrected - (share * np.log2(prior)).sum(axis=1)
    return _Knowledge(of, of - corrected, np.sqrt(variance), np.maximum(apart, 0.0))
