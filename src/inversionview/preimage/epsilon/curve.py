"""How ε is asked for, what a calibrated one is, and what a preimage becomes as ε grows. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inversionview.criterion import checked_epsilon
from inversionview.errors import UserError
from inversionview.results.estimates import CurvePoint

GRID = tuple(float(f"{digit}e{power}") for power in range(-3, 1) for digit in (1, 2, 5))[:-1]
"""0.001, 0.002, 0.005 ... 1, 2."""
SAME_ACTIVATION = {"euclidean": 1e-5, "cosine": 1e-6}
"""By metric, the distance below which two activations differ by rounding alone."""


class Calibrated(NamedTuple):
    """An ε that was measured."""

    epsilon: float
    interval: tuple[float, float]
    """`null`: 95% confidence interval. `causal`: ε and the distance of the nearest input that moves the output by the
    tolerance or more, between which the largest good ε lies; infinity where none was found."""
    detail: str
    """What was measured, in words."""
    n: int
    """Pairs drawn, or inputs that could be tried."""


def epsilon_curve(
    distances: Float[np.ndarray, " batch"],
    weights: Float[np.ndarray, " weight"] | None = None,
    epsilons: Sequence[float] | None = None,
) -> list[CurvePoint]:
    """The size, the bits and the in-ε floor of a preimage at every ε of `GRID` and of `epsilons`, in their order.

    `distances` are those of the whole domain; NaN or infinity where an input has no position that the rule allows: it
    is no part of the domain whose share the bits tell, but counts as a miss in the floor. `weights` are in proportion
    to the prior, by default uniform.
    Raises `UserError` for an ε that is not a finite number above 0, or weights that are no prior of these inputs.
    """
    grid = sorted({*GRID, *(checked_epsilon(epsilon) for epsilon in epsilons or ())})
    prior = _checked_weights(weights, len(distances))
    finite = np.isfinite(distances)
    order = np.argsort(distances[finite], kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(prior[finite][order])])
    counts = np.searchsorted(distances[finite][order].astype(np.float64), grid, side="right")
    return [
        CurvePoint(
            epsilon=epsilon,
            inside=int(count),
            log2_domain_over_preimage=float(np.log2(mass[-1] / mass[count])) if mass[count] else None,
            floor=min(1.0, float(mass[count] / prior.sum())),
        )
        for epsilon, count in zip(grid, counts, strict=True)
    ]


def _checked_weights(weights: Float[np.ndarray, " weight"] | None, n: int) -> Float[np.ndarray, " batch"]:
    prior = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if prior.shape != (n,) or not np.isfinite(prior).all() or (prior < 0).any() or not prior.sum() > 0:
        raise UserError(f"the weights of {n} inputs must be {n} numbers, 0 or more, and not all 0")
    return prior
