"""Inputs by which an explanation is found and scored: members of a preimage, near misses and random inputs.

Near misses are the nearest inputs outside of ε, as probable as the members are together; random inputs are those that
the prior gives, outside of ε too. Each input is on one of two sides: rules are found on one, and scored on the other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator

from inversionview.reading.hypotheses import is_row
from inversionview.results import estimators
from inversionview.results.preimage import Preimage
from inversionview.results.trust import FAIR_TAIL

MEMBER, NEAR, RANDOM = 0, 1, 2
KINDS = (MEMBER, NEAR, RANDOM)
MOST = (2000, 1500, 1500)
"""Inputs of each kind, at most."""
FEWEST_NEAR = 50
FEWEST_MEMBERS, FEWEST_OTHERS = 20, 10
"""Members on both sides together, and other inputs on each side, below which nothing can be scored."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Inputs of the three kinds."""

    tokens: Int[np.ndarray, "row pos"]
    positions: Int[np.ndarray, " row"]
    distances: Float[np.ndarray, " row"]
    """From the query's activation."""
    kinds: Int[np.ndarray, " row"]
    weights: Float[np.ndarray, " row"]
    """How much each counts among those of its kind."""
    scored: Bool[np.ndarray, " row"]
    """Which of them are on the side that rules are scored on."""
    members: int
    """How many members there are, of which some are among these inputs."""
    near: int
    """How many of the nearest inputs outside of ε near misses are drawn from."""
    base_rate: Shares
    """How many random inputs are members."""

    def rows(self, kind: int, *, scored: bool) -> Bool[np.ndarray, " row"]:
        """Those of a kind on one side."""
        on_it: Bool[np.ndarray, " row"] = (self.kinds == kind) & (self.scored == scored)
        return on_it

    def spread(self, holds: Bool[np.ndarray, " found"]) -> Bool[np.ndarray, " row"]:
        """What holds for the inputs on the side for finding, as a row for all; False on the other side."""
        rows = np.zeros(len(self.tokens), dtype=bool)
        rows[~self.scored] = holds
        return rows

    @property
    def others(self) -> int:
        """Distinct inputs that are no members, on the side that has fewer."""
        sides = [self.tokens[(self.kinds != MEMBER) & (self.scored == scored)] for scored in (False, True)]
        return min(len(np.unique(side, axis=0)) for side in sides)


class Shares(NamedTuple):
    """A share of weighted inputs, and how many equal ones these are worth."""

    share: float
    worth: float


def share_of(holds: Bool[np.ndarray, " row"], weights: Float[np.ndarray, " row"]) -> Shares:
    """Of the weight of some inputs, that of those for which something holds. Worth by Kish (1965)."""
    total = float(weights.sum())
    if not total > 0:
        return Shares(float("nan"), 0.0)
    return Shares(float(weights[holds].sum()) / total, total**2 / float((weights**2).sum()))


def of_all(
    tokens: Int[np.ndarray, "input pos"],
    positions: Int[np.ndarray, " input"],
    distances: Float[np.ndarray, " input"],
    prior: Float[np.ndarray, " input"] | None,
    *,
    epsilon: float,
    query: tuple[int, ...],
    generator: Generator,
) -> Evidence:
    """Evidence from inputs of which every distance is known: a whole domain, or a sample of the prior.

    `distances`: infinite where an input lacks the role; `prior`: in proportion to its probability, None where all are
    as probable. The query's own input is left out.
    """
    own = is_row(tokens, query)
    there = np.isfinite(distances) & ~own
    inside = there & (distances.astype(np.float64) <= epsilon)
    outside = np.flatnonzero(there & ~inside)
    members = np.flatnonzero(inside)
    weights = np.ones(len(tokens)) if prior is None else prior
    near = _nearest(outside, distances, weights, float(weights[inside].sum()), uniform=prior is None)
    rows = [_some(kind, most, generator) for kind, most in zip((members, near, outside), MOST, strict=True)]
    every = np.concatenate(rows)
    return Evidence(
        tokens[every],
        positions[every],
        distances[every],
        np.repeat(KINDS, [len(some) for some in rows]),
        weights[every],
        _sides(tokens[every], generator),
        len(members),
        len(near),
        share_of(inside[there], weights[there]),
    )


def of_sample(preimage: Preimage, random: Int[np.ndarray, " candidate"], generator: Generator) -> Evidence:
    """Evidence from the candidates of a reading; `random`: how many times each was drawn from the prior."""
    counts_too = preimage.in_domain & ~is_row(preimage.tokens, preimage.query.tokens)
    preimage = dataclasses.replace(preimage, in_domain=counts_too)
    outside = counts_too & ~preimage.inside
    ranked = np.flatnonzero(outside & np.isfinite(preimage.distances))
    # A member counts in proportion to the prior, whatever drew it: so does what lies outside of ε.
    wider = preimage.at_epsilon(float(preimage.distances[ranked[-1]])) if len(ranked) else preimage
    masses = wider.member_shares
    near = _nearest(ranked, preimage.distances, masses, float(masses[preimage.inside].sum()), uniform=False)
    rows = [np.flatnonzero(preimage.inside), near, np.flatnonzero(outside & (random > 0))]
    weights = [preimage.member_shares, masses, random.astype(np.float64)]
    every = np.concatenate(rows)
    return Evidence(
        preimage.tokens[every],
        preimage.positions[every],
        preimage.distances[every],
        np.repeat(KINDS, [len(some) for some in rows]),
        np.concatenate([weight[some] for weight, some in zip(weights, rows, strict=True)]),
        _sides(preimage.tokens[every], generator),
        preimage.n_inside,
        len(near),
        _share_of_prior(preimage, np.where(counts_too, random, 0)),
    )


def _share_of_prior(preimage: Preimage, random: Int[np.ndarray, " candidate"]) -> Shares:
    """How much of the prior the members are: by their weights where these are to be relied on, else by its draws."""
    size = estimators.size(preimage)
    if size.bits is not None and (size.pareto_k or 0.0) <= FAIR_TAIL:
        return Shares(2.0**-size.bits, size.effective_size)
    drawn = random > 0
    return Shares(share_of(preimage.inside[drawn], random[drawn].astype(np.float64)).share, float(random.sum()))


def _nearest(
    outside: Int[np.ndarray, " outside"],
    distances: Float[np.ndarray, " input"],
    weights: Float[np.ndarray, " input"],
    mass: float,
    *,
    uniform: bool,
) -> Int[np.ndarray, " near"]:
    """Of inputs outside of ε the nearest, as probable in all as the members are, and a few at least."""
    if uniform:
        n = min(len(outside), max(FEWEST_NEAR, round(mass)))
        nearest: Int[np.ndarray, " near"] = outside[np.argpartition(distances[outside], n - 1)[:n]] if n else outside
        return nearest
    ranked = outside[np.argsort(distances[outside], kind="stable")]
    n = int(np.searchsorted(weights[ranked].cumsum(), mass)) + 1
    return ranked[: max(FEWEST_NEAR, n)]


def _some(rows: Int[np.ndarray, " row"], most: int, generator: Generator) -> Int[np.ndarray, " some"]:
    if len(rows) <= most:
        return rows
    some: Int[np.ndarray, " some"] = rows[torch.randperm(len(rows), generator=generator)[:most].numpy()]
    return some


def _sides(tokens: Int[np.ndarray, "row pos"], generator: Generator) -> Bool[np.ndarray, " row"]:
    """Half of the distinct inputs; one that is there several times, of two kinds perhaps, is on one side."""
    inputs, place = np.unique(tokens, axis=0, return_inverse=True)
    side = np.zeros(len(inputs), dtype=bool)
    side[torch.randperm(len(inputs), generator=generator)[: len(inputs) // 2].numpy()] = True
    halves: Bool[np.ndarray, " row"] = side[place.reshape(-1)]
    return halves
