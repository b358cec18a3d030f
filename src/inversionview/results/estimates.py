"""What is said of a preimage as a whole: its size, what of it may be missing, bits about features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

GIVEN = "prior given "
"""How the names of sources begin that draw from the prior given what an input shares with the query."""


class Interval(NamedTuple):
    """95% confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Component:
    """A source whose draws are independent, with a density that is known."""

    source: str
    """Its name, as in `Preimage.sources`."""
    n: int
    """Draws, repeated and malformed ones included."""

    @property
    def is_given(self) -> bool:
        """It only draws inputs that share something with the query."""
        return self.source.startswith(GIVEN)


@dataclass(frozen=True)
class Source:
    """One way in which candidates were proposed. The first two numbers are draws, repeated ones included."""

    name: str
    drawn: int
    inside: int
    distinct_inside: int | None = None
    """Members that it drew, each counted once."""
    only: int | None = None
    """Members that no other source drew."""
    forwards: int | None = None
    """Inputs that the probed model was run on for it."""


@dataclass(frozen=True)
class Size:
    """How many inputs a preimage holds, and what the activation so gives about the input under the task's prior.

    All None where `why_not` says why.
    """

    inputs: float | None
    interval: Interval | None
    """None where `inputs` is exact."""
    log2_domain_over_preimage: float | None
    """Bits: minus log2 of the preimage's share of the prior mass of the domain."""
    bits_interval: Interval | None
    effective_size: float
    """The estimate is as good as one from this many members of equal weight."""
    pareto_k: float | None
    """Shape of the upper tail of the weights; above 0.7 a few draws carry much of the estimate. None: too few draws."""
    why_not: str | None
    domain: int | None
    """Inputs of the domain."""

    @property
    def bits(self) -> float | None:
        """What the activation says about the input."""
        return self.log2_domain_over_preimage


@dataclass(frozen=True)
class Unseen:
    """Good-Turing: the share of the proposals' own draws inside epsilon that would be new members."""

    mass: float
    interval: Interval | None


@dataclass(frozen=True)
class Recall:
    """Of the held-out inputs that fall in the preimage, the share that was found."""

    share: float
    interval: Interval | None
    held_out: int


@dataclass(frozen=True)
class AtLeast:
    """Capture-recapture between sources: they depend on each other, so this bounds the size from below."""

    inputs: float
    interval: Interval | None


@dataclass(frozen=True)
class Completeness:
    """What of the preimage was found; None where it is not known."""

    reach: float | None
    """Share of the preimage's prior mass that was found."""
    interval: Interval | None
    unseen: Unseen | None
    recall: Recall | None
    at_least: AtLeast | None
    why_not: str | None


@dataclass(frozen=True)
class FeatureBits:
    """What an activation knows about one feature, in bits; see `inversionview.reading.information`."""

    name: str
    bits: float
    """`H(F) - H(F | B)`."""
    of: float
    """`H(F)`: what there is to know."""
    divergence: float
    """`KL(F | B ‖ F)`; infinite for a value that the draws from the prior lack."""
    interval: tuple[float, float] | None
    """95% interval of `bits`; None where they are exact."""
    value: str = ""
    """The query's own value; empty behind a vector."""
    about: str = ""
    """What the feature is, in the task's words."""
    left: tuple[tuple[str, float], ...] = ()
    """Values among the members, with their shares by weight: the first `LEFT` of them, most first."""

    @property
    def share(self) -> float:
        """Known share of what there is to know; 0 for a feature that is constant."""
        return self.bits / self.of if self.of > 1e-9 else 0.0


Level = Literal["good", "fair", "cannot say"]
LEFT = 6
"""Values of a feature that are told at most."""


@dataclass(frozen=True)
class Pattern:
    """What some of the members have in common."""

    words: str
    """The tokens that they share, and `·` for each that is free (`6··+8··`); or values of features (`IO = Alice`)."""
    share: float
    """Of the preimage, by weight."""
    interval: Interval | None
    """None where the share is exact, or where it is not known how the members were drawn."""
    members: int
    """Members that were found to have it."""
    examples: tuple[str, ...]
    """Two or three of them, drawn by weight."""
    of_query: bool
    """Whether the query has it."""


@dataclass(frozen=True)
class Patterns:
    """The members of a preimage, grouped by what they share; see `inversionview.reading.patterns`."""

    found: tuple[Pattern, ...] = ()
    """Most first."""
    rest: float = 0.0
    """Share of the members that have none of these."""
    by: tuple[str, ...] = ()
    """The features or positions that they are told apart by."""
    why_not: str = ""
    """Where none is found, why, in words that begin with `no pattern`."""


@dataclass(frozen=True)
class Trust:
    """How far what is said of a preimage may be relied on; see `inversionview.results.trust`."""

    level: Level
    reason: str


@dataclass(frozen=True)
class CurvePoint:
    """What the preimage is at another epsilon."""

    epsilon: float
    inside: float
    """Members."""
    log2_domain_over_preimage: float | None
    floor: float | None
    """Share of random inputs of the domain that are inside."""
