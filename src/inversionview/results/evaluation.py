"""How good a study's decoder is, how far its estimates hold the truth, and what a sample reached of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inversionview.criterion import Metric, PositionRule
from inversionview.results import convert


@dataclass(frozen=True)
class Rate:
    """Share of decoder samples inside epsilon, its standard error, and the share that random inputs get."""

    rate: float
    se: float | None
    floor: float


@dataclass(frozen=True)
class Rates:
    """The in-ε rate under each position rule, at one site or as the mean of several."""

    any: Rate
    same: Rate
    epsilon: float | None = None
    """Where each site has its own."""


@dataclass(frozen=True)
class Reach:
    """Share of exact preimages that so many samples are expected to reach, as the mean over random queries."""

    draws: int
    cells: int
    """Random queries."""
    reach: float
    se: float | None


@dataclass(frozen=True)
class Evaluation:
    """The in-ε rate at every site beside its floor, completeness, and the probed model's accuracy."""

    study: str
    epsilon: float | None
    """None where each site has its own."""
    metric: Metric
    n: int
    """Held-out queries a site."""
    seed: int
    sites: Mapping[str, Rates]
    mean: Rates
    in_domain: float
    """Share of the decoder's samples."""
    accuracy: float
    """Exact match of the probed model on held-out inputs."""
    completeness: Reach | None
    """None where the domain cannot be enumerated."""

    def __repr__(self) -> str:
        same = self.mean.same
        return (
            f"<Evaluation of {self.study}: in-ε rate {same.rate:.1%} at the same position (floor {same.floor:.1%}), "
            f"mean of {len(self.sites)} sites; the model's accuracy {self.accuracy:.1%}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview evaluate --json` prints."""
        return convert.document(self)


@dataclass(frozen=True)
class Estimator:
    """How often an estimator's interval held the truth, over cells of which the truth is known."""

    estimator: str
    quantity: str
    cells: int
    answered: int
    """Cells for which it gave a number."""
    coverage: float
    """Share of all cells whose interval held the truth; no answer counts as a failure."""
    median_width: float | None
    median_error: float | None
    unit: str
    kept: bool


@dataclass(frozen=True)
class Marginals:
    """How many pairs of a cell and a feature the weighted sample gives as the exact preimage does."""

    pairs: int
    within_total_variation: float
    """Share of the pairs whose distributions differ by at most `total_variation`."""
    total_variation: float
    median_total_variation: float
    within_bits: float
    """Share of the pairs whose bits differ by at most `bits`."""
    bits: float
    median_bits_error: float | None


@dataclass(frozen=True)
class Quantiles:
    """Least, tenth percentile, median, ninetieth percentile and greatest."""

    least: float
    p10: float
    median: float
    p90: float
    most: float


@dataclass(frozen=True)
class CheckedEstimate:
    """One estimate of one cell beside its truth; None where the estimator abstained."""

    truth: float
    value: float | None
    interval: tuple[float, float | None] | None
    """95%; an upper end of None is infinite."""


@dataclass(frozen=True)
class CheckedCell:
    """One random query: its exact preimage, and what was estimated of it."""

    input: str
    at: str
    site: str
    inside: int
    """Inputs of the exact preimage."""
    found: int
    """Members of the sample."""
    effective_size: float
    pareto_k: float | None
    estimates: Mapping[str, CheckedEstimate]
    largest_total_variation: float = 0.0
    """Over features."""


@dataclass(frozen=True)
class Validation:
    """Every estimator against its own truth, over random queries."""

    study: str
    epsilon: float | Mapping[str, float]
    metric: Metric
    position_rule: PositionRule
    n: int
    """Draws a query."""
    temperatures: tuple[float, ...]
    prior_share: float
    seed: int
    estimators: tuple[Estimator, ...]
    marginals: Marginals
    effective_size: Quantiles
    inside: Quantiles
    cells: tuple[CheckedCell, ...]

    def __repr__(self) -> str:
        kept = (f"{row.quantity} {row.coverage:.0%}" for row in self.estimators if row.kept)
        return (
            f"<Validation of {self.study}: {len(self.cells):,} cells of {self.n:,} draws; held the truth: "
            f"{', '.join(kept)}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview validate --json` prints."""
        return convert.document(self)


@dataclass(frozen=True)
class Comparison:
    """How complete a sample of a preimage is, counted."""

    recall: float
    """Share of the exact preimage's inputs that are among the sample's members."""
    reach: float
    """The same as a share of prior mass."""
    total_variation: Mapping[str, float]
    """For each feature, half the sum of the differences between its distribution in the weighted sample and the exact
    one: 0 where they are the same, 1 where they share nothing. 1 for a sample without weighted members."""

    def __repr__(self) -> str:
        furthest = max(self.total_variation.values(), default=0.0)
        return (
            f"<Comparison: {self.recall:.1%} of the inputs and {self.reach:.1%} of the mass were reached; the weighted "
            f"sample is at most {furthest:.3f} from the exact distribution of a feature>"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return convert.document(self)
