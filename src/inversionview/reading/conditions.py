"""Expressions over a task's features, evaluated on inputs."""

from __future__ import annotations

from torch import Tensor

from inversionview.errors import UserError
from inversionview.expressions import Expression, compile_expression
from inversionview.shapes import InputMask, Positions, Tokens
from inversionview.tasks.base import Task


def compiled(task: Task, text: str) -> Expression:
    """An expression over the features of a task. Raises `UserError` for what is none, naming the features there are."""
    return compile_expression(text, {name: feature.values for name, feature in task.features.items()})


def evaluated(task: Task, expression: Expression, tokens: Tokens, positions: Positions) -> Tensor:
    """What an expression is for each input `[batch]`; features that ask for a position get `positions`."""
    values: Tensor = expression({name: task.features[name].compute(tokens, positions) for name in expression.features})
    return values


def checked_condition(task: Task, text: str) -> Expression:
    """A condition over the features of a task. Raises `UserError` for what is none."""
    expression = compiled(task, text)
    if not expression.is_condition:
        raise UserError(f"{text!r} is not a condition: compare it with something, as in {text} == 1")
    return expression


def holds(task: Task, condition: str, tokens: Tokens, positions: Positions) -> InputMask:
    """Where a condition such as `A1 != 1 and F1 + S1 != 9` holds.

    Raises `UserError` for what is no condition over the task's features.
    """
    return evaluated(task, checked_condition(task, condition), tokens, positions)
