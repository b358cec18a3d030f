"""How well an explanation fares on inputs on which it was not found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from inversionview.reading.explanation.evidence import KINDS, MEMBER, NEAR, RANDOM, Evidence, Shares, share_of
from inversionview.results.estimates import Interval
from inversionview.results.estimators import clopper_pearson
from inversionview.results.explanation import CONSISTENCY, DETECTION, NEAR_MISSES, RANDOM_INPUTS, Score

LEAST_DETECTION = 0.55
"""Detection up to which an explanation says nothing: 0.5 is chance."""


def _parts(others: Sequence[int]) -> dict[int, float]:
    """What the share of each kind for which something holds adds to balanced accuracy, which is 0.5 without."""
    return {MEMBER: 0.5} | {kind: -0.5 / len(others) for kind in others}


def _for_finding(evidence: Evidence) -> dict[int, float]:
    """The same by the kinds that are on the side for finding."""
    return _parts([kind for kind in (NEAR, RANDOM) if evidence.rows(kind, scored=False).any()])


def signed_weights(evidence: Evidence) -> Float[np.ndarray, " row"]:
    """What each input on the side for finding adds to what a rule is worth that holds for it; 0 on the other."""
    weights = np.zeros(len(evidence.tokens))
    for kind, part in _for_finding(evidence).items():
        rows = evidence.rows(kind, scored=False)
        weights[rows] = 2 * part * evidence.weights[rows] / evidence.weights[rows].sum()
    return weights


def error_of(evidence: Evidence, holds: Bool[np.ndarray, " row"]) -> float:
    """The standard error of what a rule is worth on the side for finding; a share is not taken to be 0 or 1."""
    variance = 0.0
    for kind, part in _for_finding(evidence).items():
        rows = evidence.rows(kind, scored=False)
        share, worth = share_of(holds[rows], evidence.weights[rows])
        likely = (share * worth + 1) / (worth + 2)
        variance += (2 * part) ** 2 * likely * (1 - likely) / worth
    return float(np.sqrt(variance))


def shares_of(evidence: Evidence, holds: Bool[np.ndarray, " row"]) -> dict[int, Shares]:
    """For which share of each kind an explanation holds, on the side for scoring."""
    shares = {}
    for kind in KINDS:
        rows = evidence.rows(kind, scored=True)
        if rows.any():
            shares[kind] = share_of(holds[rows], evidence.weights[rows])
    return shares


def detection_scores(shares: Mapping[int, Shares], base: Shares, *, exact: bool = False) -> dict[str, Score]:
    """Scores by what an explanation holds for; `base`: for which share of random inputs it holds."""
    others = [kind for kind in (NEAR, RANDOM) if kind in shares]
    n = {kind: round(share.worth) for kind, share in shares.items()}
    scores = {DETECTION: _balanced(shares, others, exact=exact, n=sum(n.values()))}
    for name, kind in ((NEAR_MISSES, NEAR), (RANDOM_INPUTS, RANDOM)):
        if kind in shares:
            scores[name] = _balanced(shares, [kind], exact=exact, n=n[MEMBER] + n[kind])
    held = shares[MEMBER]
    scores[CONSISTENCY] = Score(held.share, _interval(held, exact=exact), base.share, n[MEMBER])
    return scores


def _balanced(shares: Mapping[int, Shares], others: Sequence[int], *, exact: bool, n: int) -> Score:
    """Balanced accuracy, with an interval from those of its shares, by Newcombe (1998)."""
    parts = _parts(others)
    value = 0.5 + sum(part * shares[kind].share for kind, part in parts.items())
    below = above = 0.0
    for kind, part in parts.items():
        low, high = _interval(shares[kind], exact=exact)
        down, up = abs(part) * (shares[kind].share - low), abs(part) * (high - shares[kind].share)
        below, above = (below + down**2, above + up**2) if part > 0 else (below + up**2, above + down**2)
    interval = Interval(max(0.0, value - below**0.5), min(1.0, value + above**0.5))
    return Score(value, interval, 0.5, n)


def _interval(share: Shares, *, exact: bool) -> Interval:
    if exact:
        return Interval(share.share, share.share)
    return clopper_pearson(share.share * share.worth, share.worth)
