"""What one site knows at one role about every feature, from pairs of a query and an input that lies in its preimage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from inversionview.reading.feature_map import MapCell
from inversionview.reading.information import entropy
from inversionview.reading.log_score import GROUPS, Scored, scored
from inversionview.tasks.base import Feature


class Asked(NamedTuple):
    """The queries of a role."""

    inputs: Int[np.ndarray, " query"]
    """A number for each distinct input."""
    codes: Int[np.ndarray, "feature query"]
    """Their own values."""
    priors: Float[np.ndarray, "feature query"]
    """Share of the prior that has the query's value; of a query that is itself one of the draws, of the others."""


class Pairs(NamedTuple):
    """Which draws lie in the preimage of which query."""

    query: Int[np.ndarray, " pair"]
    inputs: Int[np.ndarray, " pair"]
    """Which input was drawn, in the numbers of the queries' own."""
    codes: Int[np.ndarray, "feature pair"]
    weights: Float[np.ndarray, " pair"]
    """In units of a draw from the prior."""


class Sizes(NamedTuple):
    """How much of the domain the preimages are, in bits."""

    bits: Float[np.ndarray, " query"]
    se: Float[np.ndarray, " query"]


def cell_of(
    place: tuple[str, str],
    features: Sequence[Feature],
    base: Sequence[np.ndarray],
    asked: Asked,
    pairs: Pairs,
    *,
    sizes: Sizes,
) -> MapCell:
    """What is known at a place, a site and a role; `base` has the masses of every value under the prior."""
    n = len(asked.inputs)
    mass, square = (_sums(pairs.query, weights, n) for weights in (pairs.weights, pairs.weights**2))
    others = _Others.of(asked, pairs)
    knowledge, scores = [], []
    for own, prior, codes, masses in zip(asked.codes, asked.priors, pairs.codes, base, strict=True):
        at, shape = pairs.query * len(masses) + codes, (n, len(masses))
        total, squares = (
            _sums(at, weights, n * len(masses)).reshape(shape) for weights in (pairs.weights, pairs.weights**2)
        )
        knowledge.append(_knowledge(total, squares, masses))
        scores.append(others.score(pairs, codes, own=own, own_prior=prior, base=masses))
    return MapCell(
        site=place[0],
        role=place[1],
        features=tuple(feature.name for feature in features),
        of=np.array([one.of for one in knowledge]),
        size_bits=sizes.bits,
        bits=np.stack([one.bits for one in knowledge], axis=1),
        divergence=np.stack([one.divergence for one in knowledge], axis=1),
        size_se=sizes.se,
        bits_se=np.stack([one.se for one in knowledge], axis=1),
        effective=np.where(mass > 0, mass**2 / np.where(mass > 0, square, 1.0), 0.0),
        scores=np.stack([one.bits for one in scores], axis=1),
        score_se=np.array([one.se for one in scores]),
        score_interval=np.array([one.interval for one in scores]),
    )


class _Others(NamedTuple):
    """The members that are another input than the query, as numbers of members of equal weight; a repeat is no more."""

    there: np.ndarray
    weights: Float[np.ndarray, " other"]
    group: Int[np.ndarray, " other"]
    queries: int

    @classmethod
    def of(cls, asked: Asked, pairs: Pairs) -> _Others:
        n = len(asked.inputs)
        there = (pairs.inputs != asked.inputs[pairs.query]).nonzero()[0]
        query, inputs, weights = pairs.query[there], pairs.inputs[there], pairs.weights[there]
        most = int(inputs.max(initial=0)) + 1
        _, first, which = np.unique(query * most + inputs, return_index=True, return_inverse=True)
        of_input = _sums(which, weights, len(first))
        mass, square = (_sums(query[first], values, n) for values in (of_input, of_input**2))
        scale = mass / np.where(square > 0, square, 1.0)
        return cls(there, weights * scale[query], inputs % GROUPS, n)

    def score(
        self,
        pairs: Pairs,
        codes: Int[np.ndarray, " pair"],
        *,
        own: Int[np.ndarray, " query"],
        own_prior: Float[np.ndarray, " query"],
        base: Float[np.ndarray, " value"],
    ) -> Scored:
        """The score of one feature."""
        n, values = self.queries, len(base)
        query, codes = pairs.query[self.there], codes[self.there]
        total = _sums(query * values + codes, self.weights, n * values).reshape(n, values)
        by_group = self.group * n + query
        members, same = (
            _sums(by_group, weights, GROUPS * n).reshape(GROUPS, n)
            for weights in (self.weights, np.where(codes == own[query], self.weights, 0.0))
        )
        return scored(total, same, members, prior=np.maximum(base, 0.5) / max(base.sum(), 0.5), own_prior=own_prior)


def _sums(where: Int[np.ndarray, " item"], weights: Float[np.ndarray, " item"], n: int) -> Float[np.ndarray, " place"]:
    """The weight at each of `n` places."""
    return np.bincount(where, weights, n).astype(np.float64)  # whole numbers if there is nothing


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
