"""How hypotheses about what an activation says fared on the members of its preimage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inversionview.results import convert, show


@dataclass(frozen=True)
class Control:
    """What a reader finds who looks at something else than the query activation."""

    consistency: float | None
    members: int


@dataclass(frozen=True)
class HypothesisTest:
    """How a hypothesis about one activation fared."""

    name: str
    site: str
    at: str
    consistency: float | None
    """Share of the members for which it holds, weighted by the prior; None where `why_not` says why."""
    interval: tuple[float, float] | None
    """At 95%; of an exact preimage, the share itself."""
    members: int
    """Members it was tested on, without the query's own input."""
    effective_size: float
    """How many equal members those are worth."""
    base_rate: float
    """Share of the inputs for which it holds under the prior; under rule `same`, of those that have the role."""
    lift: float | None
    """`consistency` over `base_rate`; None where that is 0."""
    p_value: float | None
    """Against the preimages of random inputs for which the hypothesis does not hold."""
    random_queries: int
    """Those that had members; the smallest possible p-value is 1 / (1 + this)."""
    p_corrected: float | None
    """For the number of sites tried, by Holm's method."""
    sites_tried: int
    controls: Mapping[str, Control]
    why_not: str | None
    seed: int
    exact: bool

    def __repr__(self) -> str:
        return f"<{self.name}, {self.site} at {self.at}: {self._said()}>"

    def _said(self) -> str:
        if self.consistency is None:
            return f"not tested, because {self.why_not}"
        p = self.p_value if self.p_corrected is None else self.p_corrected
        chance = "" if p is None else f"; p = {p:.2g}"
        members = f"{self.members:,} member{'' if self.members == 1 else 's'}"
        return f"holds for {self.consistency:.1%} of {members}, for {self.base_rate:.1%} of all inputs{chance}"

    def to_dict(self) -> dict[str, Any]:
        """One of the `tests` that `inversionview test --json` prints."""
        document: dict[str, Any] = convert.plain(self)
        return document


class HypothesisTests(show.Drawn, list[HypothesisTest]):
    """Tests, one a site; as the last line of a notebook's cell they draw themselves."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))
