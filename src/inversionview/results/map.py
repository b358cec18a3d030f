"""A map of a study: bits about each named feature at every site and named position."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inversionview.criterion import Metric, PositionRule
from inversionview.results import convert, show

Estimator = Literal["entropy difference", "log score"]
"""`entropy difference`: H(feature) - H(feature | preimage), of exact preimages. `log score`: how much likelier the
members make the query's own value than the prior does, log2 P(value | preimage) / P(value); a lower bound."""
KNOWN_SHARE = 0.9
"""A cell knows a feature of which it gives at least this share of the entropy."""
PARTLY = 0.5
"""It knows a feature partly from this share on."""
LITTLE = 0.1
"""It knows a little of a feature from this share on, and nothing of it below."""
LEAST_BITS = 0.05
"""Features with fewer bits are not shown."""
BEFORE_ALL = ("embed", "x0.pre")
"""Sites that hold a token and its place, and nothing else."""
UNASKED = ("held out", "position", "token")
"""Features that are left out unless they are asked for: they tell of how inputs are written down."""


@dataclass(frozen=True)
class CellBits:
    """Bits about one feature, a mean over queries or of one query; see `Map.estimator` for what they are."""

    bits: float
    of: float
    """H(feature) under the prior, of the inputs that have the cell's position."""
    se: float | None
    """Standard error of the mean over queries; None for one query."""
    divergence: float
    """KL(feature | preimage ‖ feature) in bits: never negative, where bits of one query may be."""
    interval: tuple[float, float] | None = None
    """Where bits are a log score, 95% for the one that draws without end would give."""
    entropy_difference: float | None = None
    """Beside a log score, H(feature) - H(feature | preimage) by the members; None where some queries have few."""
    log_score: float | None = None
    """Beside an exact entropy difference, the log score of the whole preimages."""

    @property
    def share(self) -> float:
        """Bits as a share of the feature's entropy, in [0, 1]; 0 for a feature that is constant."""
        return max(0.0, min(1.0, self.bits / self.of)) if self.of > 0 else 0.0


@dataclass(frozen=True)
class Part:
    """The queries of a cell that have one value of a feature, such as one phrasing."""

    value: str
    queries: int
    bits: Mapping[str, float]
    """By feature, the mean over these queries."""


@dataclass(frozen=True)
class Cell:
    """What was measured at one site and named position, and what the cell so knows."""

    site: str
    at: str
    queries: int
    log2_domain_over_preimage: float | None
    """Bits about the whole input; None, and no `bits`, where `why_not` says why."""
    se: float | None
    bits: Mapping[str, CellBits]
    """By feature."""
    knows: tuple[str, ...]
    """Features with a share of at least `KNOWN_SHARE`, most bits first."""
    best: str | None
    """What `best_feature` chooses."""
    epsilon: float | None = None
    """Where the rule gives each cell its own."""
    members: float | None = None
    """In a sampled map, effective members of the query that has the fewest; from a bank, of the median query."""
    why_not: str | None = None
    by: tuple[Part, ...] | None = None
    """By the values of `Map.by`, in their order."""


def known_features(cell: Cell) -> list[str]:
    """Features of which a cell knows at least `KNOWN_SHARE`, most bits first; ties in the order given."""
    names = [name for name, f in cell.bits.items() if f.bits >= LEAST_BITS and f.share >= KNOWN_SHARE]
    return sorted(names, key=lambda name: -round(cell.bits[name].bits, 6))  # equal ones differ by rounding errors


def partly_known(cell: Cell) -> list[str]:
    """Features of which a cell knows at least `PARTLY`, the largest share first; ties in the order given."""
    shares = _shares(cell)
    return sorted((name for name, share in shares.items() if share >= PARTLY), key=lambda name: -shares[name])


def best_feature(cell: Cell) -> str | None:
    """The feature that a cell knows best; None where every feature has less than `LEAST_BITS`.

    Of the features of which the cell knows at least `KNOWN_SHARE`, it is the one with the most bits; where there is
    none, the one with the largest share. Bits alone would favour features with many values that are half known, shares
    alone cannot tell apart those that are known whole. Ties go to the first.
    """
    shares = _shares(cell)
    return next(iter(known_features(cell)), max(shares, key=lambda name: shares[name], default=None))


def _shares(cell: Cell) -> dict[str, float]:
    return {name: round(f.share, 6) for name, f in cell.bits.items() if f.bits >= LEAST_BITS}


def with_best(cell: Cell) -> Cell:
    """A cell with what it knows added."""
    return dataclasses.replace(cell, knows=tuple(known_features(cell)), best=best_feature(cell))


def without_unasked(cell: Cell) -> Cell:
    """A cell without the features that nobody asked for, and with what it then knows best."""
    return with_best(dataclasses.replace(cell, bits={n: f for n, f in cell.bits.items() if n not in UNASKED}))


@dataclass(frozen=True)
class Map(show.Drawn):
    """What every site knows at every named position; as the last line of a notebook's cell it draws itself."""

    study: str
    task: str
    input: str | None
    """The one input whose activations were read; None for a mean over random queries."""
    where: str | None
    """The condition that the random queries meet."""
    epsilon: float | None
    """None where each cell has its own."""
    epsilon_rule: str
    """As given: `0.1`, `null:0.01`."""
    metric: Metric
    position_rule: PositionRule
    queries: int
    """A cell; 1 for one input."""
    seed: int
    exact: bool
    domain: int | None
    """Inputs of the domain, where the prior is uniform over them."""
    sites: tuple[str, ...]
    ats: tuple[str, ...]
    """Named positions, in order."""
    cells: tuple[Cell, ...]
    drawn: int | None = None
    """In a sampled map, the inputs drawn from the prior."""
    drawn_given: int | None = None
    """And those drawn for each query from the prior given what they share with it."""
    estimator: Estimator = "entropy difference"
    bank: int | None = None
    """Inputs of the bank, where it is made from one."""
    by: str | None = None
    """The feature by whose values each cell is told apart."""
    warning: str | None = None
    """What is to be known before ε is trusted, in one sentence."""
    site_notes: tuple[str, ...] | None = None
    """What names of sites do not say of them in this model, of each kind once."""

    def __repr__(self) -> str:
        of = f"{self.queries:,} random queries" if self.input is None else self.input
        return f"<Map of {self.study}, {of}: {len(self.sites)} sites at {len(self.ats)} positions>"

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview map --json` prints."""
        return convert.document(self)


def given_by_token(document: Map) -> dict[str, tuple[str, ...]]:
    """For each named position, the features that the token there and its place give, whatever the model makes of them.

    They are those that the residual stream before the first layer knows at least partly; none where the map lacks it.
    """
    given: dict[str, tuple[str, ...]] = {}
    for cell in document.cells:
        if cell.site in BEFORE_ALL:
            names = tuple(name for name, f in cell.bits.items() if f.bits >= LEAST_BITS and f.share >= PARTLY)
            given[cell.at] = names
    return given
