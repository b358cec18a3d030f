"""How well an activation tells the query's own value of a feature: a score that few members cannot make too good.

Of k members, k_v share the query's value v, of which the prior has a share p(v). The score is what the forecast made of
the members says of v, beside the prior: `log2((k_v + a p(v)) / ((k + a) p(v)))`. Whatever forecast is made without
looking at the query's own value, its score is on average at most the bits that the activation gives: a lower bound,
0 or below where the members know nothing. So the query is no member here, nor is the same input drawn again.

`a` is how many members the prior counts for, one of `WEIGHTS`: that by which the other half of the queries score best,
or with few queries that by which the members forecast each other best, each from the others. Neither looks at the value
that is scored, so the bound holds. Where nothing is known `a` is infinite, and the score 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

WEIGHTS = (*(2.0**power for power in range(-3, 13)), np.inf)
FEW_QUERIES = 20
GROUPS = 10
"""Parts of the draws; each is left out once, for the error that the draws make."""
_Z = 1.96
_STILL = 1 / (2**0.5 - 1)
"""What is still to be gained, in units of what the second half of the members gave: the score rises with their root. As
if it rose with their number (1), intervals of real heads were too low."""


class Scored(NamedTuple):
    """The score of one feature in one cell."""

    bits: Float[np.ndarray, " query"]
    se: float
    """Of the mean over queries, with the error that it owes to what was drawn; of one query this error alone."""
    interval: tuple[float, float]
    """For the mean score that a bank without end would give: two errors below, and above what the score tends to."""


def scored(
    total: Float[np.ndarray, "query value"],
    same: Float[np.ndarray, "group query"],
    members: Float[np.ndarray, "group query"],
    *,
    prior: Float[np.ndarray, " value"],
    own_prior: Float[np.ndarray, " query"],
) -> Scored:
    """The score of each query, from members in `GROUPS` groups of the draws, in numbers of members of equal weight.

    `total`: members with each value; `same`: those that share the query's own value; `prior`: shares of the values,
    `own_prior` those of the queries' own, without the query itself where it is one of the draws.
    """
    n, half = len(own_prior), GROUPS // 2
    all_same, everyone = same.sum(axis=0), members.sum(axis=0)
    weight = _weights(total, all_same, everyone, prior, own_prior)
    bits = _score(all_same, everyone, own_prior, weight)
    left_out = _score(all_same - same, everyone - members, own_prior, weight).mean(axis=1)
    halves = [
        _score(same[part].sum(axis=0), members[part].sum(axis=0), own_prior, weight).mean()
        for part in (slice(half), slice(half, None))
    ]
    from_draws = (GROUPS - 1) / GROUPS * float(((left_out - left_out.mean()) ** 2).sum())
    over_queries = float(bits.var(ddof=1)) / n if n > 1 else 0.0
    mean, se = float(bits.mean()), float(np.sqrt(over_queries + from_draws))
    rise = _STILL * max(0.0, mean - float(np.mean(halves)))
    return Scored(bits, se, (mean - _Z * se, mean + rise + _Z * se))


def exact_scores(
    total: Float[np.ndarray, "query value"], own: Int[np.ndarray, " query"], prior: Float[np.ndarray, " value"]
) -> Float[np.ndarray, " query"]:
    """What the score tends to: `log2(P(v | preimage) / P(v))`, from the masses of a whole preimage and domain."""
    rows = np.arange(len(own))
    share = total[rows, own] / total.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a query that is not in the domain
        return np.asarray(np.log2(share) - np.log2(prior[own] / prior.sum()))


def _score(
    same: Float[np.ndarray, "*any query"],
    members: Float[np.ndarray, "*any query"],
    prior: Float[np.ndarray, " query"],
    weight: Float[np.ndarray, "*any_or_one query"],
) -> Float[np.ndarray, "*several query"]:
    """The score with finite weights, and 0 with infinite ones."""
    lifted = np.where(prior > 0, np.maximum(same, 0) / np.where(prior > 0, prior, 1), 0.0)
    known = np.isfinite(weight)
    finite = np.where(known, weight, 1.0)
    return np.asarray(np.where(known, np.log2((lifted + finite) / (np.maximum(members, 0) + finite)), 0.0))


def _weights(
    total: Float[np.ndarray, "query value"],
    same: Float[np.ndarray, " query"],
    members: Float[np.ndarray, " query"],
    prior: Float[np.ndarray, " value"],
    own_prior: Float[np.ndarray, " query"],
) -> Float[np.ndarray, " query"]:
    """The weight for each query; of those that do equally well the largest."""
    n = len(own_prior)
    if n < FEW_QUERIES:
        return np.full(n, _by_members(total, prior))
    tried = np.array(WEIGHTS[::-1])
    scores = _score(same, members, own_prior, np.broadcast_to(tried[:, None], (len(tried), n)))
    even = np.arange(n) % 2 == 0
    best_of_even, best_of_odd = (tried[scores[:, rows].mean(axis=1).argmax()] for rows in (even, ~even))
    return np.asarray(np.where(even, best_of_odd, best_of_even))


def _by_members(total: Float[np.ndarray, "query value"], prior: Float[np.ndarray, " value"]) -> float:
    """The weight by which each member is forecast best from the others of its preimage; of equals the largest."""
    query, value = total.nonzero()
    times, size = total[query, value], total.sum(axis=1)[query]
    others, lifted = np.maximum(size - 1, 0), np.maximum(times - 1, 0) / prior[value]
    best, most = np.inf, 0.0
    for weight in reversed(WEIGHTS[:-1]):
        forecast = float((times * np.log2((lifted + weight) / (others + weight))).sum())
        if forecast > most:
            best, most = weight, forecast
    return best
