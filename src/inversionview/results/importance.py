"""Weights of draws from a mixture of known densities. Plain numpy, in nats and fp64.

Draw i of n comes from component k of n_k draws; q_k(x) is known for every draw and every component, whoever drew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_TINY = np.finfo(np.float64).tiny


def log_mixture(
    log_densities: Float[np.ndarray, "component candidate"], n: Sequence[int]
) -> Float[np.ndarray, " candidate"]:
    """log of Σ_k (n_k / n) q_k(x): the density that all draws have together (the balance heuristic).

    Source: Veach and Guibas 1995, section 3.
    """
    shares = np.log(np.asarray(n, dtype=np.float64) / sum(n))
    return np.asarray(np.logaddexp.reduce(log_densities + shares[:, None], axis=0))


def inclusion(
    log_densities: Float[np.ndarray, "component candidate"], n: Sequence[int]
) -> Float[np.ndarray, " candidate"]:
    """1 - Π_k (1 - q_k(x))^{n_k}: the probability that x is among the draws at all (Horvitz and Thompson 1952)."""
    q = np.exp(np.minimum(log_densities, 0.0))
    with np.errstate(divide="ignore"):  # q = 1 is always drawn
        missed = (np.asarray(n, dtype=np.float64)[:, None] * np.log1p(-q)).sum(axis=0)
    return np.asarray(np.maximum(-np.expm1(missed), _TINY))


def effective_size(weights: Float[np.ndarray, " member"], drawn: Float[np.ndarray, " member"]) -> float:
    """How many independent draws of equal weight are as good as distinct members with these weights.

    `weights` are p(x) / π(x) and `drawn` is π(x), the probability to be drawn. (Σw)² / Σw² counts as uncertain what was
    sure to be drawn; so each square is taken times 1 - π, its share of the variance (Poisson sampling). A thousand
    million where everything was sure to be drawn.
    """
    if not len(weights):
        return 0.0
    square, spread = float(weights.sum()) ** 2, float((weights**2 * (1 - drawn)).sum())
    return square / max(spread, 1e-9 * square)


class Tail(NamedTuple):
    """How heavy the upper tail of importance weights is."""

    k: float
    """Shape of a generalised Pareto distribution; above 0.7 the weights' mean is not to be trusted."""
    n: int
    """Weights that it was fitted to."""


def pareto_tail(weights: Float[np.ndarray, " draw"]) -> Tail:
    """Fit the largest weights, min(n / 5, 3 √n) of them, by the estimator of Zhang and Stephens (2009).

    k is NaN for fewer than five of them or where they are all equal. Source: Vehtari, Simpson, Gelman, Yao and Gabry,
    Pareto smoothed importance sampling, JMLR 2024.
    """
    positive = np.sort(weights[weights > 0])
    n = int(min(len(positive) / 5, 3 * np.sqrt(len(positive))))
    if n < 5:
        return Tail(float("nan"), n)
    excess = positive[-n:] - positive[-n - 1]
    if excess[-1] <= 1e-12 * positive[-1]:
        return Tail(float("nan"), n)
    return Tail(_pareto_shape(excess[excess > 0]), n)


def _pareto_shape(excess: Float[np.ndarray, " draw"]) -> float:
    """Posterior mean of the shape over a grid of profile likelihoods, with the weak prior that PSIS puts on it."""
    x = np.sort(excess)
    n = len(x)
    grid = 30 + int(np.sqrt(n))
    theta = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * x[max(n // 4 - 1, 0)])
    k = np.log1p(-theta[:, None] * x).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = n * (np.log(-theta / k) - k - 1)
    likelihood = np.where(np.isfinite(likelihood), likelihood, -np.inf)
    weight = np.exp(likelihood - likelihood.max())
    best = float((theta * weight).sum() / weight.sum())
    shape = float(np.log1p(-best * x).mean())
    return (n * shape + 10 * 0.5) / (n + 10)
