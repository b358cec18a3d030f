"""The rules that make verdicts of what activations do to the output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from inversionview.results.use import (
    ENCODED,
    LEAST_INPUTS,
    LEAST_NATS,
    LEAST_SHARE,
    Effect,
    FeatureUse,
    Interval,
    Verdict,
)


def least_difference(differing: Effect) -> float:
    """Smaller differences from the KL of these inputs are none, in nats."""
    return max(LEAST_NATS, LEAST_SHARE * (differing.kl or 0.0))


def difference(more: Effect, less: Effect) -> tuple[float | None, Interval | None]:
    """By how much the first mean is above the second, with a 95% interval; the groups are independent."""
    if more.kl is None or less.kl is None or more.interval is None or less.interval is None:
        return None, None
    apart = more.kl - less.kl
    half = math.hypot(more.interval[1] - more.kl, less.interval[1] - less.kl)
    return apart, (apart - half, apart + half)


def whole_verdict(
    members: Effect, random: Effect, apart: float | None, interval: Interval | None
) -> tuple[Literal["used", "not used"] | None, str | None]:
    """Whether the output depends on what tells members from others there; or the reason why that is not known."""
    for group, which in ((members, "members other than the query"), (random, "non-members")):
        if group.n < LEAST_INPUTS:
            return None, f"there are only {group.n} {which}, and at least {LEAST_INPUTS} are needed"
    used, why_not = _is_used(apart, interval, random)
    return (None if used is None else "used" if used else "not used"), why_not


def feature_verdict(use: FeatureUse, held: Sequence[str], drawn: int) -> tuple[Verdict | None, str | None]:
    """What the thresholds say; or the reason, where the inputs or the interval do not allow a verdict."""
    if use.name in held:
        return None, "it is held equal"
    if (not use.differing.n and drawn >= LEAST_INPUTS) or (use.of is not None and use.of < 1e-9):
        among = f" that share {' and '.join(held)}" if held else ""
        return None, f"it is the same in all {drawn:,} non-members{among}"
    if use.share is None:
        return None, "the members of the preimage are too few, or their weights too uneven, to tell what is encoded"
    if use.share < ENCODED:
        return "not encoded", None
    return difference_verdict(use, drawn)


def difference_verdict(use: FeatureUse, drawn: int) -> tuple[Verdict | None, str | None]:
    """The same of a feature that is encoded."""
    for group, which in ((use.sharing, "share it"), (use.differing, "do not share it")):
        if group.n < LEAST_INPUTS:
            return None, f"only {group.n} of {drawn:,} non-members {which}, and at least {LEAST_INPUTS} are needed"
    used, why_not = _is_used(use.difference, use.interval, use.differing)
    return (None if used is None else "used" if used else "merely present"), why_not


def _is_used(apart: float | None, interval: Interval | None, differing: Effect) -> tuple[bool | None, str | None]:
    assert apart is not None, "both groups have enough inputs"
    assert interval is not None
    least = least_difference(differing)
    if interval[0] > 0 and apart >= least:
        return True, None
    if interval[1] < least:
        return False, None
    low, high = interval
    return None, f"the interval of the difference, {low:.3g} to {high:.3g} nats, is too wide: try more inputs"
