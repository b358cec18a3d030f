"""Conditions on inputs, written as expressions over a task's features."""

from __future__ import annotations

from inversionview.errors import UserError
from inversionview.expressions import compile_expression
from inversionview.shapes import InputMask, Positions, Tokens
from inversionview.tasks.base import Task


def holds(task: Task, condition: str, tokens: Tokens, positions: Positions) -> InputMask:
    """Where a condition such as `A1 != 1 and F1 + S1 != 9` holds; features that ask for a position get `positions`.

    Raises `UserError` for what is no condition over the task's features.
    """
    expression = compile_expression(condition, {name: feature.values for name, feature in task.features.items()})
    if not expression.is_condition:
        raise UserError(f"{condition!r} is not a condition: compare it with something, as in {condition} == 1")
    codes = {name: task.features[name].compute(tokens, positions) for name in expression.features}
    mask: InputMask = expression(codes)
    return mask
