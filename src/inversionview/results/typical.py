"""Members in an order that shows what a preimage is made of: drawn by weight, and not the nearest first.

The nearest members look like the query, and the first rows of a list are all that is read of it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

DRAWN = 1000
"""Draws that `typical_order` and `typical_rows` have in common."""


def typical_rows(weights: Float[np.ndarray, " row"], n: int, *, seed: int = 0) -> Int[np.ndarray, " draw"]:
    """`n` rows drawn with replacement in proportion to their weights; fewer draws are the beginning of more."""
    if not weights.sum() > 0:
        return np.zeros(0, dtype=np.int64)
    upto = np.cumsum(weights)
    rows = np.searchsorted(upto, np.random.default_rng(seed).random(n) * upto[-1], side="right")
    return np.asarray(np.minimum(rows, np.flatnonzero(weights)[-1]))  # the sum may be rounded up to the last draw


def typical_order(weights: Float[np.ndarray, " row"], *, seed: int = 0) -> Int[np.ndarray, " typical"]:
    """All rows of some weight in the order in which draws with replacement first come to them (successive sampling).

    It begins with the draws of `typical_rows`; after these the next rows are found all at once, by exponential clocks
    that run at the speed of the weights.
    """
    drawn = typical_rows(weights, DRAWN, seed=seed)
    first = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    left = weights > 0
    left[first] = False
    rest = np.flatnonzero(left)
    clocks = np.random.default_rng((seed, 1)).exponential(size=len(rest)) / weights[rest]
    return np.concatenate([first, rest[np.argsort(clocks, kind="stable")]])
