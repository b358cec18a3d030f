"""What is said of a whole preimage beyond the members shown: its size, what may be missing, bits about features.

The words never make an estimate look exact: a number that is not exact has its 95% interval or the word "about", and
no more digits than it deserves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from inversionview.results.estimates import Completeness, CurvePoint, FeatureBits, Size


class Fact(NamedTuple):
    """Something said of a preimage, under a label."""

    label: str
    words: str


_CERTAIN = 1e6
"""Effective sample size beyond which as good as every member was drawn for certain, and the number says nothing."""


def size_fact(size: Size, *, exact: bool) -> Fact:
    """Say how many inputs the preimage holds and how many bits that is, or why it cannot be said."""
    inputs, bits, domain = size.inputs, size.log2_domain_over_preimage, size.domain
    if size.why_not or inputs is None:
        return Fact("size", _unknown(size.why_not))
    interval, bits_interval = size.interval, size.bits_interval
    of = "" if domain is None else f" of {domain:,}"
    gives = "" if bits is None else f": the activation gives {bits_words(bits, bits_interval, exact)} about the input"
    if exact:
        noun = "input" if inputs == 1 and domain is None else "inputs"
        return Fact("size", f"exactly {inputs:,.0f}{of} {noun}{gives}")
    return Fact("size", f"about {_inputs_words(inputs, interval, domain)}{of}{gives}{_trust(size)}")


def rounded_inputs(size: Size) -> int:
    """How many inputs there are, to the digits that the interval leaves meaningful."""
    return 0 if size.inputs is None else _rounded(size.inputs, _digits(size.inputs, size.interval), round)


def completeness_facts(completeness: Completeness) -> list[Fact]:
    """Say what of the preimage was found and what may be missing, a fact for each way it was estimated."""
    facts = []
    reach, unseen = completeness.reach, completeness.unseen
    recall, at_least = completeness.recall, completeness.at_least
    if reach is not None:
        words = share_words(reach, completeness.interval)
        facts.append(Fact("found", f"{words} of the preimage, by the task's prior"))
    elif completeness.why_not:
        facts.append(Fact("found", _unknown(completeness.why_not)))
    if recall:
        words = share_words(recall.share, recall.interval)
        facts.append(Fact("recall", f"{words} of the {recall.held_out:,} held-out inputs in the preimage"))
    if unseen:
        words = share_words(unseen.mass, unseen.interval)
        facts.append(Fact("unseen", f"{words} of further members that the same proposals drew would be new"))
    if at_least:
        words = _inputs_words(at_least.inputs, at_least.interval, None)
        facts.append(Fact("at least", f"about {words}, by capture and recapture between sources"))
    return facts


def share_known(bits: float, of: float) -> float:
    """Return bits as a share of the feature's entropy, in [0, 1]; 0 for a feature that is constant."""
    return max(0.0, min(1.0, bits / of)) if of > 0 else 0.0


def bits_words(bits: float, interval: Sequence[float] | None, exact: bool) -> str:
    """Write `6.98 bits` where that is exact, `6.98 bits (6.85 to 7.10)` with an interval, and `about 7.0 bits`."""
    if exact:
        return f"{bits:.2f} bits"
    if interval is None:
        return f"about {bits:.1f} bits"
    return f"{bits:.2f} bits ({_interval_of_bits(interval)})"


def share_words(share: float, interval: Sequence[float] | None) -> str:
    """Write `83.0% (78.1% to 87.5%)`, or `about 83%` without an interval."""
    if interval is None:
        return f"about {share:.0%}"
    return f"{percent(share)} ({percent(interval[0])} to {percent(interval[1])})"


def percent(share: float) -> str:
    """Write a share with one decimal; only none and all are written 0.0% and 100.0%."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def bits_row(feature: FeatureBits, *, exact: bool) -> tuple[str, str, str]:
    """Return bits, the entropy they are of, and the interval, as words; bits below 0 are `0 (± 0.1)`."""
    interval = feature.interval
    if feature.bits < 0:
        apart = 0.0 if interval is None else (interval[1] - interval[0]) / 2
        return "0", f"of {feature.of:.2f}", f"(± {max(apart, -feature.bits):.2g})"
    if exact or interval is None:
        return (f"{feature.bits:.2f}" if exact else f"about {feature.bits:.1f}"), f"of {feature.of:.2f}", ""
    return f"{feature.bits:.2f}", f"of {feature.of:.2f}", f"({_interval_of_bits(interval)})"


def curve_rows(curve: Sequence[CurvePoint], epsilon: float, *, exact: bool) -> list[tuple[bool, list[str]]]:
    """Return a row for each epsilon, smallest first, and whether it is the reading's: epsilon, members, bits, floor."""
    rows = []
    for point in sorted(curve, key=lambda point: point.epsilon):
        bits, floor = point.log2_domain_over_preimage, point.floor
        cells = [
            f"{point.epsilon:.4g}",
            f"{point.inside:,.0f}",
            "–" if bits is None else f"{bits:.2f}" if exact else f"about {bits:.1f}",
            "–" if floor is None else percent(floor),
        ]
        rows.append((math.isclose(point.epsilon, epsilon, rel_tol=1e-6), cells))
    return rows


def curve_header(*, exact: bool) -> tuple[str, ...]:
    """Return the names of the columns of `curve_rows`."""
    return "ε", "members" if exact else "members found", "bits about the input", "floor"


def _unknown(reason: str | None) -> str:
    return f"not known, because {reason}" if reason else "not known"


def _trust(size: Size) -> str:
    effective, k = size.effective_size, size.pareto_k
    parts = [] if effective is None or effective > _CERTAIN else [f"effective sample size {effective:,.0f}"]
    parts += [] if k is None else [f"Pareto k̂ {k:.2f}"]
    return f"; {', '.join(parts)}" if parts else ""


def _inputs_words(inputs: float, interval: Sequence[float] | None, domain: int | None) -> str:
    digits = _digits(inputs, interval)
    words = f"{_rounded(inputs, digits, round):,} inputs"
    if interval is None:
        return words
    low, high = _rounded(interval[0], digits, math.floor), _rounded(interval[1], digits, math.ceil)
    return f"{words} ({low:,} to {high if domain is None else min(high, domain):,})"


def _digits(value: float, interval: Sequence[float] | None) -> int:
    """Return how many digits of a value its interval leaves meaningful: two at the least."""
    width = 0.0 if interval is None else interval[1] - interval[0]
    if value <= 0 or width <= 0:
        return 2
    return max(2, 1 - math.floor(math.log10(width / value)))


def _rounded(value: float, digits: int, to: Callable[[float], int]) -> int:
    unit = 10 ** max(0, math.floor(math.log10(value)) + 1 - digits) if value >= 1 else 1
    return to(value / unit) * unit


def _interval_of_bits(interval: Sequence[float]) -> str:
    # outwards, or rounding would make it narrower than it is; 1e-9 keeps 6.85 from becoming 6.84
    return f"{math.floor(interval[0] * 100 + 1e-9) / 100:.2f} to {math.ceil(interval[1] * 100 - 1e-9) / 100:.2f}"
