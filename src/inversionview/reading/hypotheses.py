"""Hypotheses about what an activation says, and how far the members of its preimage bear them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.expressions import NONE
from inversionview.reading.conditions import compiled, evaluated
from inversionview.results.estimates import Interval
from inversionview.results.estimators import clopper_pearson
from inversionview.results.preimage import Preimage, Query
from inversionview.shapes import InputMask, Tokens
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role, last_eligible

Given = str | Callable[[str], Hashable]
"""How a user gives a hypothesis: a feature, an expression, or a function of the typed input."""

_ROUNDING = 1e-9
"""Shares that differ by less are the same share, summed in another order."""


@dataclass(frozen=True)
class Hypothesis:
    """Something that may hold for an input; `as_hypothesis` makes one."""

    name: str
    """For display: `F1 = 6`, or the condition itself."""
    about: str
    """What was given: the feature, the expression, the function's name."""
    holds: Callable[[Tokens], InputMask]
    """Of inputs of the domain. What depends on a position is taken at the query's role."""


def as_hypothesis(task: Task, given: Given, query: Query) -> Hypothesis:
    """The hypothesis about `query` that a feature's name, an expression, or a Python function of the typed input gives.

    A condition, and a function that gives True or False, is to hold for the members. A feature, an expression that
    gives numbers, and a function that gives anything else (hashable) is to have the query's own value.
    Raises `UserError` for an unknown feature or a malformed expression, and, from `holds` too, for a function that
    raises or gives no usable value, with its error and the input.
    """
    if callable(given):
        return _from_function(task, given, query)
    if not isinstance(given, str):
        raise UserError(
            f"a hypothesis is a feature, an expression or a function of the input, not {type(given).__name__}"
        )
    name = given.strip()
    name = name[1:-1] if name.startswith("`") and name.endswith("`") else name
    if name in task.features:
        feature = task.features[name]
        wanted = int(feature.compute(padded_row(task, query), torch.tensor([query.position])))

        def shares(tokens: Tokens) -> InputMask:
            return feature.compute(tokens, _places(task, tokens, query.role)) == wanted

        return Hypothesis(f"{name} = {feature.values[wanted]}", name, shares)
    return _from_expression(task, given, query)


def _from_expression(task: Task, text: str, query: Query) -> Hypothesis:
    expression = compiled(task, text)

    def values(tokens: Tokens) -> Tensor:
        return evaluated(task, expression, tokens, _places(task, tokens, query.role))

    if expression.is_condition:
        return Hypothesis(text, text, values)
    wanted = int(values(padded_row(task, query)))
    shown = "none" if wanted == NONE else str(wanted)
    return Hypothesis(f"{text} = {shown}", text, lambda tokens: values(tokens) == wanted)


def _from_function(task: Task, function: Callable[[str], Hashable], query: Query) -> Hypothesis:
    name = getattr(function, "__name__", type(function).__name__).strip("<>")

    def value(text: str) -> Hashable:
        try:
            result = function(text)
            if isinstance(result, (np.generic, Tensor)):
                result = result.item()
            hash(result)
        except Exception as error:  # whatever the user's code may raise is the user's to see
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"the hypothesis {name} fails on the input {text!r}: {told}") from error
        return result

    def answers(tokens: Tokens) -> InputMask:
        values = [value(task.decode(row)) for row in tokens]
        if not is_condition:
            return torch.tensor([other == wanted for other in values], dtype=torch.bool)
        for row, answer in zip(tokens, values, strict=True):
            if not isinstance(answer, bool):
                raise UserError(
                    f"the hypothesis {name} gives {wanted} for {query.input!r} but {answer!r} for "
                    f"{task.decode(row)!r}: let it give True or False for every input, or neither for any"
                )
        return torch.tensor(values, dtype=torch.bool)

    wanted = value(query.needed_input("a test of a hypothesis"))
    is_condition = isinstance(wanted, bool)
    return Hypothesis(name if is_condition else f"{name} = {wanted!r}", name, answers)


def padded_row(task: Task, query: Query) -> Tokens:
    """The query's input `[1, pos]`, as long as the task's longest."""
    tokens = torch.full((1, max(task.max_length, len(query.tokens))), task.pad)
    tokens[0, : len(query.tokens)] = torch.tensor(query.tokens)
    return tokens


def _places(task: Task, tokens: Tokens, role: str) -> Tensor:
    """Where the role is, or the last eligible position of an input that lacks it (they count under rule `any`)."""
    positions = eligible_role(task, tokens, role)
    return torch.where(positions < 0, last_eligible(task, tokens), positions)


class Consistency(NamedTuple):
    """How far one preimage bears out a hypothesis."""

    share: float | None
    """Of the members, weighted by the prior; None where `why_not` says why."""
    interval: Interval | None
    """At 95%; the share itself where the preimage is exact."""
    members: int
    """Members that were looked at, without the query's own input."""
    effective_size: float
    """How many equal members the weighted ones are worth; at most `members`."""
    why_not: str | None = None


def consistency(preimage: Preimage, hypothesis: Hypothesis, *, leave_out_query: bool = True) -> Consistency:
    """The share of the members for which a hypothesis holds, weighted by the task's prior.

    The query's own input is a member whatever the activation says, and is left out, unless the activation that was
    read is another one (`leave_out_query=False`). For a sample, the interval is Clopper and Pearson's on the effective
    sample size; an exact preimage's share is what it is.
    """
    if leave_out_query:
        is_query = is_row(preimage.tokens, preimage.query.tokens)
        preimage = dataclasses.replace(preimage, in_domain=preimage.in_domain & ~is_query)
    inside = preimage.inside
    members = int(inside.sum())
    if not members:
        return nothing_but_the_query(None if preimage.exact else preimage.n_drawn)
    weights = preimage.weights[inside]
    if not weights.sum() > 0:  # NaN too
        unknown = "how probable its members are is not known, neither under the task's prior nor for what drew them"
        return Consistency(None, None, members, 0.0, unknown)
    holds = hypothesis.holds(torch.from_numpy(preimage.tokens[inside])).numpy()
    share = min(1.0, float(weights[holds].sum() / weights.sum()))
    if preimage.exact:
        return Consistency(share, Interval(share, share), members, float(members))
    size = min(preimage.effective_size, float(members))
    return Consistency(share, clopper_pearson(share * size, size), members, size)


def is_row(tokens: Int[np.ndarray, "candidate pos"], row: Sequence[int]) -> Bool[np.ndarray, " candidate"]:
    """Which inputs are the one of `row`, which ends with the end token: after that there is only padding."""
    if len(row) > tokens.shape[1]:
        return np.zeros(len(tokens), dtype=bool)
    matches: Bool[np.ndarray, " candidate"] = (tokens[:, : len(row)] == np.array(row)).all(axis=1)
    return matches


def nothing_but_the_query(drawn: int | None) -> Consistency:
    """What can be said where there is no other member among `drawn` inputs, or (None) in the whole domain."""
    if drawn is None:
        return Consistency(None, None, 0, 0.0, "no input but the query's own is in its preimage: use a larger epsilon")
    why = f"no member but the query's own input is among {drawn:,} draws: draw more, or use a larger epsilon"
    return Consistency(None, None, 0, 0.0, why)


def permutation_p(observed: float, null: Sequence[float]) -> float:
    """How probable so high a value is by chance: (1 + how many of `null` are at least as high) / (1 + their number).

    Never 0, and 1 without any. Source: Phipson and Smyth, Permutation p-values should never be zero, 2010.
    """
    as_high = sum(value >= observed - _ROUNDING for value in null)
    return (1 + as_high) / (1 + len(null))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for how many there are, in their order; None counts among them, and stays None.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[i] = largest
    return corrected


def check_not_constant(hypothesis: Hypothesis, of_query: bool, drawn: Bool[Tensor, " batch"]) -> None:
    """Raise `UserError` for a hypothesis that is as true, or as false, of every input drawn as it is of the query."""
    if bool((drawn == of_query).all()):
        truth = "holds" if of_query else "does not hold"
        raise UserError(
            f"{hypothesis.about} is constant, so it says nothing about an activation: {hypothesis.name!r} {truth} for "
            f"the query and for all of {len(drawn):,} inputs drawn from the prior"
        )
