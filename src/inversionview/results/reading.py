"""A preimage as it is drawn: plain values, one row a candidate, beside what is said of it as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from inversionview.criterion import Metric, PositionRule
from inversionview.results.estimates import Completeness, CurvePoint, FeatureBits, Patterns, Size, Source, Trust
from inversionview.results.explanation import Explanation


@dataclass(frozen=True)
class Place:
    """The input and the position that were read."""

    tokens: Sequence[str]
    """One string a position, begin and end tokens included."""
    position: int
    at: str
    """The position's role, by the task: `=`, `A1`; an index in free text."""


@dataclass(frozen=True)
class Counts:
    """How many candidates were left after each step; each number is a part of the one before."""

    drawn: int
    """Draws, repeated ones included; with `exact`, the inputs of the domain."""
    distinct: int
    """Distinct inputs among the draws."""
    in_domain: int
    """Distinct inputs that are in the domain."""
    inside: int
    """Members: distinct inputs of the domain, run through the probed model and found within epsilon."""


@dataclass(frozen=True)
class Sample:
    """One distinct candidate."""

    tokens: Sequence[str]
    position: int
    """Where it comes nearest to the query activation, among the positions that the rule allows; -1 for none."""
    distance: float | None
    """At `position`; None where there is none."""
    inside: bool
    """A member: in the domain, and within epsilon."""
    in_domain: bool
    count: int
    """How many times it was drawn."""
    log_prob: float | None
    """Under the decoder at temperature 1, in nats; None where no decoder was asked."""
    colors: Sequence[float] | None
    """For each token, how much the activation raised (to 1) or lowered (to -1) its probability; perhaps made when asked
    for, see `results.colors.make_together`."""
    token_distances: Sequence[float | None] | None
    """For each token, the distance of the activation there."""
    weight: float | None = None
    """Its share of the preimage, by the members found; None where weights are not known, 0 for what is no member."""
    differs: str = ""
    """Of a near miss, what it has in place of what the members share: `F1+S1 = 13`."""


class Column(NamedTuple):
    """A feature of the candidates, to be shown beside them."""

    name: str
    values: tuple[str, ...]
    """What each code is called."""
    codes: Int[np.ndarray, " candidate"]
    """-1 outside the domain, where features are not defined."""
    query: str
    """The query's own value."""

    def text(self, row: int) -> str | None:
        """The value of one candidate."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]

    def take(self, rows: slice | Int[np.ndarray, " row"]) -> Column:
        """The same of some candidates."""
        return self._replace(codes=self.codes[rows])


@dataclass(frozen=True)
class FeatureColumn:
    """A named feature of each sample, shown beside it."""

    name: str
    values: Sequence[str]
    """One a sample, in the order of the samples."""
    query: str = ""


@dataclass(frozen=True)
class Reading:
    """The inputs that a model does not tell apart at one place, ready to be drawn."""

    study: str
    site: str
    metric: Metric
    epsilon: float
    position_rule: PositionRule
    seed: int
    domain_size: int | None
    exact: bool
    """Every input of the domain was run; nothing was drawn."""
    query: Place
    counts: Counts
    sources: Sequence[Source]
    samples: Sequence[Sample]
    """Nearest first; of a large exact preimage some in `typical` order and the nearest. `counts` speaks of all."""
    colors_about: str
    """What `colors` compares with, and why; empty where there are none."""
    size: Size | None = None
    bits: Sequence[FeatureBits] = ()
    curve: Sequence[CurvePoint] = ()
    epsilon_from: str = ""
    """How ε was chosen, in words; empty where it was given."""
    warning: str = ""
    """What is to be known before ε is trusted; empty where nothing is."""
    site_note: str = ""
    """What to know of the site in this model, in words; empty where its name says all."""
    shares: Sequence[float] | None = None
    """For each token of the query, the share of all members, by weight, that have it there; else of the samples."""
    given: str | None = None
    """Which part of the domain it is of, in words that go after `inputs`."""
    features: Sequence[FeatureColumn] = ()
    completeness: Completeness | None = None
    typical: Sequence[int] = ()
    """Indices into `samples` of the members, in the order in which draws by weight come to them."""
    weighted: bool = False
    """Whether weights are known; else all members count the same."""
    patterns: Patterns | None = None
    """What the members share; None where it was not looked for."""
    explanation: Explanation | None = None
    """What it says, in words that were scored."""
    trust: Trust | None = None
