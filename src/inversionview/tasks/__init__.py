"""Input domains, one a file."""

from __future__ import annotations

from inversionview.errors import UserError
from inversionview.tasks.base import Constrained, Feature, Split, Task

__all__ = ["Constrained", "Feature", "Split", "Task", "get_task"]


def get_task(name: str) -> Task:
    """The task called `name`. Raises `UserError` naming the tasks there are."""
    if name == "addition":
        from inversionview.tasks.addition import AdditionTask

        return AdditionTask()
    if name == "counting":
        from inversionview.tasks.counting import CountingTask

        return CountingTask()
    raise UserError(f"there is no task {name!r}; the tasks are: addition, counting")
