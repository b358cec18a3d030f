"""What is found about the use of an activation, and the rules that make verdicts of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA = 1

ENCODED = 0.5
"""A feature is encoded where the activation gives at least this share of its entropy."""
LEAST_NATS = 0.05
"""Smaller differences of KL are no difference, and a smaller KL leaves the output as it is."""
LEAST_SHARE = 0.1
"""Nor are differences that are a smaller share of the KL of those that do not share the feature."""
LEAST_INPUTS = 20
"""A group of fewer inputs says nothing."""
MEMBERS_SHARE = 0.9
"""Where this share of the inputs with a value are members, members stand in for non-members that have it."""

Interval = tuple[float, float]
Verdict = Literal["used", "merely present", "not encoded"]


@dataclass(frozen=True)
class Effect:
    """What the activations of some inputs did to the output of the query's run."""

    n: int
    """Inputs."""
    kl: float | None
    """Mean over inputs of the largest KL(clean ‖ patched) over the outputs, in nats; None where there is no input."""
    interval: Interval | None
    """95% interval of `kl`; None for fewer than two inputs."""
    largest: float | None
    same_top: float | None
    """Share of the inputs with which the most probable next token is the clean run's at every output."""
    by_output: tuple[float, ...]
    """Mean KL at each output."""


@dataclass(frozen=True)
class FeatureUse:
    """Whether one feature is encoded, and whether the output depends on it."""

    name: str
    value: str
    """The query's."""
    bits: float | None
    """What the activation gives about it; None where it has no weighted member."""
    of: float | None
    """The feature's entropy."""
    sharing: Effect
    """Of non-members that have the query's value; see `by_members`."""
    differing: Effect
    """Of non-members that have another."""
    difference: float | None
    """KL of the differing less that of the sharing, in nats: what sharing the feature saves."""
    interval: Interval | None
    """95% interval of the difference."""
    verdict: Verdict | None
    """None where `why_not` says why."""
    why_not: str | None = None
    by_members: bool = False
    """The sharing are members: as good as all inputs with the value are, so the feature is all that is encoded."""

    @property
    def share(self) -> float | None:
        """Known share of the feature's entropy."""
        return None if self.bits is None or not self.of else self.bits / self.of


@dataclass(frozen=True)
class Use:
    """What `use` found for one query."""

    study: str
    input: str
    tokens: tuple[int, ...]
    position: int
    at: str
    site: str
    epsilon: float
    metric: str
    position_rule: str
    seed: int
    exact: bool
    """Whether the preimage is."""
    inside: int
    """Its members."""
    weighted: bool
    """Whether members count by the prior; else each counts the same, because no density is known."""
    outputs: tuple[str, ...]
    """Positions whose next token is looked at."""
    given: tuple[str, ...]
    """Features that all non-members share with the query."""
    drawn: int
    """Non-members that were looked through; `nearest` are the nearest of these."""
    members: Effect
    nearest: Effect
    """Of the non-members just outside ε."""
    random: Effect
    """Of non-members from the prior."""
    difference: float | None
    """KL of random non-members less that of members."""
    interval: Interval | None
    verdict: Literal["used", "not used"] | None
    """Of the activation as a whole."""
    why_not: str | None
    features: tuple[FeatureUse, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON types only, None for what is not known."""
        document = dataclasses.asdict(self)
        query = {name: document.pop(name) for name in ("input", "tokens", "position", "at", "site")}
        thresholds = {
            "encoded_share": ENCODED,
            "least_nats": LEAST_NATS,
            "least_share": LEAST_SHARE,
            "least_inputs": LEAST_INPUTS,
        }
        for feature, row in zip(self.features, document["features"], strict=True):
            row["share"] = feature.share
        lists: dict[str, Any] = _as_lists({"schema": SCHEMA, "query": query, "thresholds": thresholds, **document})
        return lists

    def to_html(self) -> str:
        """A self-contained HTML page."""
        from inversionview.report.page import render_page

        return render_page([self._packed()], title=f"{self.input} at {self.at}, {self.site}")

    def _repr_html_(self) -> str:
        from inversionview.report.page import render_fragment

        return render_fragment(self._packed())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        from inversionview.report.widget import widget_bundle

        return widget_bundle(self._packed)

    def _packed(self) -> dict[str, Any]:
        from inversionview.report.wire import pack_causal

        return pack_causal(self.to_dict())  # type: ignore[arg-type]


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_lists(inner) for name, inner in value.items()}
    return [_as_lists(inner) for inner in value] if isinstance(value, (tuple, list)) else value


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


def feature_verdict(found: FeatureUse, held: Sequence[str], drawn: int) -> tuple[Verdict | None, str | None]:
    """What the thresholds say; or the reason, where the inputs or the interval do not allow a verdict."""
    if found.name in held:
        return None, "it is held equal"
    if (not found.differing.n and drawn >= LEAST_INPUTS) or (found.of is not None and found.of < 1e-9):
        among = f" that share {' and '.join(held)}" if held else ""
        return None, f"it is the same in all {drawn:,} non-members{among}"
    if found.share is None:
        return None, "the members of the preimage are too few, or their weights too uneven, to tell what is encoded"
    if found.share < ENCODED:
        return "not encoded", None
    for group, which in ((found.sharing, "share it"), (found.differing, "do not share it")):
        if group.n < LEAST_INPUTS:
            return None, f"only {group.n} of {drawn:,} non-members {which}, and at least {LEAST_INPUTS} are needed"
    used, why_not = _is_used(found.difference, found.interval, found.differing)
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
