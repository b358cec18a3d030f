"""What makes an input a member: the metric, the position rule and ε, each parsed once, where it enters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from inversionview.errors import UserError

Metric = Literal["euclidean", "cosine"]
PositionRule = Literal["same", "any"]
EpsilonKind = Literal["constant", "null", "causal"]


@dataclass(frozen=True)
class EpsilonRule:
    """How ε is chosen; `str()` gives what `parse_epsilon` takes.

    Raises `UserError` for a kind that there is not, or a value that the kind cannot have.
    """

    kind: EpsilonKind
    value: float
    """`constant`: ε itself; `null`: the share of unrelated pairs that match; `causal`: the tolerance in nats."""

    def __post_init__(self) -> None:
        highest = 1 if self.kind == "null" else math.inf
        if self.kind not in get_args(EpsilonKind) or not 0 < self.value < highest:
            raise _unreadable(f"{self.kind}:{self.value:g}")

    def __str__(self) -> str:
        short = f"{self.value:g}"
        number = short if float(short) == self.value else repr(self.value)
        return number if self.kind == "constant" else f"{self.kind}:{number}"


def parse_epsilon(given: str | float | EpsilonRule) -> EpsilonRule:
    """The rule written as `0.1`, `null:0.01` or `causal:0.05`; a number is a constant, a rule is returned as it is.

    Raises `UserError` that shows the three forms for anything else.
    """
    if isinstance(given, EpsilonRule):
        return given
    kind, colon, number = str(given).strip().rpartition(":")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if "_" in number or (colon and kind not in ("null", "causal")):  # float() reads 1_0 as ten
        value = math.nan
    try:
        return EpsilonRule(cast(EpsilonKind, kind or "constant"), value)
    except UserError as error:
        raise _unreadable(given) from error


def _unreadable(given: object) -> UserError:
    text = str(given)
    return UserError(
        "epsilon must be a number above 0, such as 0.1, a share of unrelated pairs between 0 and 1, such as null:0.01, "
        f"or a tolerance in nats above 0, such as causal:0.05, not {text if text.isprintable() else repr(text)}"
    )


def checked_epsilon(epsilon: float) -> float:
    """Give ε as a float. Raises `UserError` unless it is a finite number above 0."""
    try:
        value = float(epsilon)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"epsilon must be a number above 0, such as 0.1, not {epsilon}")
    return value


def checked_metric(metric: str) -> Metric:
    """Give the metric of this name. Raises `UserError` that names the ones there are."""
    if metric not in get_args(Metric):
        raise UserError(f"unknown metric {metric!r}: use {' or '.join(get_args(Metric))}")
    return cast(Metric, metric)


def checked_rule(rule: str) -> PositionRule:
    """Give the position rule of this name. Raises `UserError` that names the ones there are."""
    if rule not in get_args(PositionRule):
        raise UserError(f"unknown position rule {rule!r}: use {' or '.join(get_args(PositionRule))}")
    return cast(PositionRule, rule)


@dataclass(frozen=True)
class SiteEpsilons:
    """An ε for each site, and the rule by which they were found, such as `null:0.02`."""

    by_site: Mapping[str, float]
    rule: str

    def __str__(self) -> str:
        return self.rule


@dataclass(frozen=True)
class QueryEpsilons:
    """An ε for each of several queries, in their order."""

    values: tuple[float, ...]


EpsilonLike = str | float | EpsilonRule | SiteEpsilons | QueryEpsilons | Sequence[float]
"""What an ε may be given as; a sequence has one for each query."""


@dataclass(frozen=True)
class Criterion:
    """What makes an input a member of a preimage: an activation at most ε away, at a position that the rule allows."""

    metric: Metric = "euclidean"
    position_rule: PositionRule = "same"
    epsilon: EpsilonRule | SiteEpsilons | QueryEpsilons = EpsilonRule("constant", 0.1)

    @staticmethod
    def parse(epsilon: EpsilonLike = 0.1, metric: str = "euclidean", position_rule: str = "same") -> Criterion:
        """The criterion that is written so. Raises `UserError` that says what each of the three may be."""
        return Criterion(checked_metric(metric), checked_rule(position_rule), _parsed(epsilon))

    def but(
        self, epsilon: EpsilonLike | None = None, metric: str | None = None, position_rule: str | None = None
    ) -> Criterion:
        """The same, but for what is given; raises as `parse` does."""
        return Criterion(
            self.metric if metric is None else checked_metric(metric),
            self.position_rule if position_rule is None else checked_rule(position_rule),
            self.epsilon if epsilon is None else _parsed(epsilon),
        )

    @property
    def constant(self) -> float | None:
        """The one ε of all; None where each site or query has its own, or it is still to be measured."""
        rule = self.epsilon
        if isinstance(rule, QueryEpsilons):
            return rule.values[0] if len(set(rule.values)) == 1 else None
        return rule.value if isinstance(rule, EpsilonRule) and rule.kind == "constant" else None

    @property
    def largest(self) -> float | None:
        """The one ε of all sites, or the largest of theirs; None where it is still to be measured."""
        return max(self.epsilon.by_site.values()) if isinstance(self.epsilon, SiteEpsilons) else self.constant

    def limits(self, sites: Sequence[str]) -> list[float]:
        """The largest distance of a member for queries at these sites.

        Raises `UserError` where ε is still to be measured, or is of another number of queries.
        """
        rule = self.epsilon
        if isinstance(rule, SiteEpsilons):
            if missing := next((site for site in sites if site not in rule.by_site), None):
                raise UserError(f"this study has no epsilon for {missing}: give one, such as 0.1 or null:0.02")
            return [rule.by_site[site] for site in sites]
        if isinstance(rule, QueryEpsilons):
            if len(rule.values) != len(sites):
                raise UserError(
                    f"give one epsilon, or one for each of the {len(sites)} queries, not {len(rule.values)}"
                )
            return list(rule.values)
        if rule.kind != "constant":
            raise UserError(f"epsilon {rule} has to be measured before anything is a member by it: give a number")
        return [rule.value] * len(sites)


DEFAULT = Criterion()
"""A Euclidean distance of at most 0.1, at the position of the same role."""


def _parsed(given: EpsilonLike) -> EpsilonRule | SiteEpsilons | QueryEpsilons:
    if isinstance(given, SiteEpsilons | QueryEpsilons):
        return given
    if isinstance(given, Sequence) and not isinstance(given, str):
        return QueryEpsilons(tuple(map(checked_epsilon, given)))
    if isinstance(given, int | float):
        return EpsilonRule("constant", checked_epsilon(given))
    return parse_epsilon(given)
