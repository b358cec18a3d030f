"""Whether an activation, and what it encodes, is used where the answer is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from inversionview.results import convert, show

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

    @property
    def line(self) -> str:
        """The verdict, with what sharing the feature saves."""
        if self.verdict is None:
            return f"whether it is used is not known: {self.why_not}"
        if self.difference is None or self.interval is None:
            return self.verdict
        low, high = self.interval
        return f"{self.verdict}, {self.difference:.3g} nats ({low:.3g}, {high:.3g})"


@dataclass(frozen=True)
class Use(show.Drawn):
    """Whether the activation of one query is used; see `inversionview.causal.use`."""

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

    def __repr__(self) -> str:
        told = [feature.name for feature in self.features if feature.verdict == "used"]
        said = self.verdict or f"not known, because {self.why_not}"
        features = f"; of the features: {', '.join(told)}" if told else ""
        return f"<Use of {self.site} at {self.at} of {self.input}, {self.study}: {said}{features}>"

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview causal --json` prints."""
        document = convert.document(self)
        for feature, row in zip(self.features, document["features"], strict=True):
            row["why_not"], row["share"] = feature.why_not, feature.share
        query = {name: document.pop(name) for name in ("input", "tokens", "position", "at", "site")}
        thresholds = {
            "encoded_share": ENCODED,
            "least_nats": LEAST_NATS,
            "least_share": LEAST_SHARE,
            "least_inputs": LEAST_INPUTS,
        }
        return document | {"query": query, "thresholds": thresholds}
