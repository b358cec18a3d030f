"""What makes an input a member: the metric, the position rule and ε, each parsed once, where it enters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
class Criterion:
    """What makes an input a member of a preimage: an activation at most ε away, at a position that the rule allows."""

    metric: Metric
    position_rule: PositionRule
    epsilon: EpsilonRule | SiteEpsilons

    @staticmethod
    def parse(
        epsilon: str | float | EpsilonRule | SiteEpsilons, metric: str = "euclidean", position_rule: str = "same"
    ) -> Criterion:
        """The criterion that is written so. Raises `UserError` that says what each of the three may be."""
        rule = epsilon if isinstance(epsilon, SiteEpsilons) else parse_epsilon(epsilon)
        return Criterion(checked_metric(metric), checked_rule(position_rule), rule)

    @property
    def limit(self) -> float:
        """ε as the largest distance of a member. Raises `ValueError` where it is still to be measured."""
        if not isinstance(self.epsilon, EpsilonRule) or self.epsilon.kind != "constant":
            raise ValueError(f"epsilon {self.epsilon} is a rule: measure it first")
        return self.epsilon.value

    def at(self, epsilon: float) -> Criterion:
        """The same with this ε."""
        return replace(self, epsilon=EpsilonRule("constant", checked_epsilon(epsilon)))
