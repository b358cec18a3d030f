"""What an activation says, in words, and how well the words fared when they were tried on inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inversionview.results.use import FeatureUse

DETECTION, NEAR_MISSES, RANDOM_INPUTS = "detection", "detection_near_misses", "detection_random_inputs"
GENERATION, OTHERS, CONSISTENCY = "generation", "generation_other_activations", "consistency"
ABOUT = {
    GENERATION: "of inputs written to fit it, inside ε when run through the model; floor: of random inputs",
    DETECTION: "members told from near misses and random inputs by it alone, balanced accuracy",
    NEAR_MISSES: "the same, from the nearest inputs outside ε",
    RANDOM_INPUTS: "the same, from random inputs outside ε",
    CONSISTENCY: "of members, weighted by the prior (feature consistency rate); floor: of random inputs",
    OTHERS: "of inputs written to fit it, inside ε of the activations of random inputs at the same site",
}
"""What each score is the share of."""


@dataclass(frozen=True)
class Score:
    """A share between 0 and 1; None where `why_not` says why."""

    value: float | None
    interval: tuple[float, float] | None
    """At 95%; the value itself where all inputs were counted."""
    floor: float | None
    """What words that say nothing get."""
    n: int
    """Inputs it was tried on."""
    why_not: str | None = None

    @property
    def shown(self) -> str:
        """The value with its interval, or why there is none."""
        if self.value is None or self.interval is None:
            return f"not known: {self.why_not}"
        low, high = self.interval
        return f"{self.value:.3f}" if high - low < 5e-4 else f"{self.value:.3f} ({low:.3f}, {high:.3f})"

    def __str__(self) -> str:
        return self.shown + ("" if self.floor is None else f", floor {self.floor:.3f}")


def percent(share: float) -> str:
    """With a digit more where it is small: 2.5%, 93%."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{100 * share:.2g}%"


@dataclass(frozen=True)
class Explanation:
    """Words about an activation, with what they are worth."""

    words: str
    expression: str | None
    """The same over the task's features, where there is such a thing."""
    found_by: str
    """`features`, or the name of a language model."""
    scores: Mapping[str, Score]
    """Generation first, see `ABOUT`."""
    about: tuple[str, ...] = ()
    """The features, sums and differences that it speaks of."""
    says_nothing: str = ""
    """Why it says nothing about this activation; empty where it does."""
    used: FeatureUse | None = None
    """Whether the model uses it there; None where that was not tried."""

    @property
    def line(self) -> str:
        """The words, with how many of the inputs that fit them are members; or why they say nothing."""
        generation = self.scores.get(GENERATION)
        if self.says_nothing:
            return f"{self.words}: {self.says_nothing}"
        if generation is None or generation.value is None:
            return self.words
        floor = "" if generation.floor is None else f", {percent(generation.floor)} of random ones"
        return f"{self.words}: {percent(generation.value)} of inputs that fit are members{floor}"

    @property
    def scores_line(self) -> str:
        """All scores."""
        scores = [f"{name.replace('_', ' ')} {score}" for name, score in self.scores.items()]
        return "; ".join([*scores, *([] if self.used is None else [self.used.line])])

    def __repr__(self) -> str:
        said = f"{self.words}; {self.says_nothing}" if self.says_nothing else self.words
        return f"<{said}: {self.scores_line}>" if self.scores else f"<{said}>"
