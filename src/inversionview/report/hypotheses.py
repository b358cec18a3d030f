"""The verdict on a tested hypothesis, in words."""

from __future__ import annotations

from typing import Any

from inversionview.report.estimates import percent, share_words
from inversionview.results.hypotheses import HypothesisTest

CHANCE = 0.05
"""Largest p, corrected for the sites tried, of what holds more often than elsewhere."""
HOLDS = 0.9
"""It holds where the interval of its share begins here or above."""


def verdict(test: HypothesisTest) -> str:
    """`holds`, `holds for some`, `no more than elsewhere`, or `unclear` where no p is known; else `not tested`."""
    if test.consistency is None:
        return "not tested"
    if test.p_corrected is None:
        return "unclear"
    if test.p_corrected > CHANCE:
        return "no more than elsewhere"
    return "holds" if test.interval is not None and test.interval[0] >= HOLDS else "holds for some"


def sentence(test: HypothesisTest) -> str:
    """Say for what share of the members it holds, how that compares, and whether chance would do as well."""
    if test.consistency is None:
        return f"Not tested, because {test.why_not or 'nothing was found'}."
    members = f"{test.members:,} member{'' if test.members == 1 else 's'}"
    exact = test.interval is None or test.interval[0] == test.interval[1]
    share = percent(test.consistency) if exact else share_words(test.consistency, test.interval)
    lift = "" if test.lift is None else f", {test.lift:.1f} times as often as in all inputs"
    return f"It holds for {share} of {members}{lift}{_chance(test)}."


def packed(test: HypothesisTest) -> dict[str, Any]:
    """A test as it goes to a browser: with its verdict and its sentence."""
    return {**test.to_dict(), "verdict": verdict(test), "says": sentence(test)}


def _chance(test: HypothesisTest) -> str:
    p = test.p_value if test.p_corrected is None else test.p_corrected
    if p is None:
        return ""
    corrected = f", corrected for {test.sites_tried:,} sites" if test.sites_tried > 1 else ""
    return f"; p = {p:.2g} against random inputs{corrected}"
