"""Whether what a reading says may be relied on, in one line, by thresholds that are written down here.

A reading is as good as its least good part. None of it says whether ε is the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from inversionview.results import estimators
from inversionview.results.estimates import Level, Source, Trust

GOOD_MEMBERS = 100.0
"""Effective members from which on shares and bits are good: a share of a half is then known to ± 0.1."""
FAIR_MEMBERS = 20.0
"""And below which nothing can be said of them."""
GOOD_SIZE = 1.25
"""The ends of the interval of a good size are at most this factor from the estimate."""
FAIR_SIZE = 2.0
GOOD_TAIL = 0.5
"""Pareto k up to which the weights have a finite variance."""
FAIR_TAIL = 0.7
"""Above it, a few draws carry much of every estimate (Vehtari and others 2024)."""

_NOT_GOOD: tuple[Level, ...] = ("cannot say", "fair")


class Judged(estimators.Drawn, Protocol):
    """What of a `Preimage` is judged."""

    @property
    def epsilon(self) -> float: ...
    @property
    def rounding(self) -> float: ...
    @property
    def given(self) -> str: ...


def trust(preimage: Judged) -> Trust:
    """How far what is said of a preimage may be relied on, and why."""
    if preimage.epsilon < preimage.rounding:
        return Trust("cannot say", f"ε = {preimage.epsilon:g} is below the rounding of half precision here")
    if preimage.exact:
        every = f"all {preimage.domain_size:,} inputs {preimage.given or 'of the domain'} were run"
        return Trust("good", every) if preimage.inside.any() else Trust("cannot say", f"{every}, and none is inside ε")
    size = estimators.size(preimage)
    if size.why_not or size.inputs is None or size.interval is None:
        return Trust("cannot say", size.why_not or "the size is not known")
    ends = max(size.interval.high / size.inputs, size.inputs / max(size.interval.low, 1e-9))
    tail, members = size.pareto_k or 0.0, size.effective_size
    levels = [
        (_level(tail <= GOOD_TAIL, tail <= FAIR_TAIL), f"a few draws carry much of the weight (Pareto k = {tail:.2f})"),
        (_level(members >= GOOD_MEMBERS, members >= FAIR_MEMBERS), f"members worth {members:.0f} of equal weight"),
        (_level(ends <= GOOD_SIZE, ends <= FAIR_SIZE), f"size known to a factor of {ends:.2g}"),
    ]
    draws = _inside(estimators.source_draws(preimage), preimage.epsilon)
    for level in _NOT_GOOD:
        reasons = [reason for found, reason in levels if found == level]
        if reasons:
            return Trust(level, f"{reasons[0]}; {draws}")
    return Trust("good", f"size within {_percent(ends - 1)}, {draws}")


def _level(good: bool, fair: bool) -> Level:
    return "good" if good else "fair" if fair else "cannot say"


def _inside(sources: Sequence[Source], epsilon: float) -> str:
    drawn, inside = (sum(getattr(source, name) for source in sources) for name in ("drawn", "inside"))
    return f"{inside:,} of {drawn:,} draws inside ε = {epsilon:g}"


def _percent(share: float) -> str:
    return f"{max(share, 0.01):.0%}"
