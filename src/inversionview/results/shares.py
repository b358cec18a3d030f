"""Shares of a preimage, estimated from the members that were found. Plain numpy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from inversionview.results import estimators
from inversionview.results.estimates import Interval
from inversionview.results.importance import inclusion

CHOSEN = 0.99
"""Confidence at which an interval is made, so that 95% hold of groups that were chosen on the same draws."""


class ShareErrors:
    """95% intervals of shares of one preimage by weight; None where they are exact, or densities are not known.

    They are of groups of members that were found on the same draws, where they stand out more than in the whole; so
    they are made at the confidence `CHOSEN`.

    A share is a ratio of two Horvitz-Thompson sums, so its variance is that of Σ (1 - π) (w (has - share))² over the
    members (Särndal, Swensson and Wretman 1992, section 5.6). The interval is that of Clopper and Pearson with as many
    members as would give this variance, and at most as many as all are worth: where all that were found have it, the
    variance is 0, and what is certain is not.
    """

    def __init__(self, preimage: estimators.Drawn) -> None:
        self._weights = preimage.member_shares
        self._worth = self._missed = None
        names = {component.source for component in preimage.components}
        if preimage.exact:
            return
        if preimage.effective_size > 0 and preimage.log_densities is not None:
            rows = self._weights > 0
            counts = [component.n for component in preimage.components]
            missed = np.zeros(len(preimage))
            missed[rows] = 1 - inclusion(preimage.log_densities[:, rows], counts)
            self._missed, self._worth = missed, preimage.effective_size
        elif names <= {"prior", "bank"} and names:  # a sample of the prior needs no density
            self._missed, self._worth = np.ones(len(preimage)), float(preimage.inside.sum())

    def interval(self, has: Bool[np.ndarray, " candidate"]) -> Interval | None:
        """Of the share of the members for which `has` holds."""
        if self._missed is None or self._worth is None:
            return None
        share = min(1.0, float(self._weights[has].sum()))
        variance = float((self._missed * (self._weights * (has - share)) ** 2).sum())
        n = min(self._worth, share * (1 - share) / variance) if variance > 0 else self._worth
        return estimators.clopper_pearson(share * n, n, CHOSEN)
