"""Input domains, one a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError
from inversionview.tasks.base import Configured, Constrained, Feature, Split, Task

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

__all__ = ["TASKS", "Configured", "Constrained", "Feature", "Split", "Task", "get_task"]

TASKS = {
    "addition": "inversionview.tasks.addition.task:AdditionTask",
    "counting": "inversionview.tasks.counting.task:CountingTask",
    "facts": "inversionview.tasks.facts.task:FactsTask",
    "facts-and-texts": "inversionview.tasks.facts.with_texts:FactsAndTextsTask",
    "ioi": "inversionview.tasks.ioi.task:IoiTask",
    "text": "inversionview.tasks.text.task:TextTask",
}
"""Where the class of each task is."""


def get_task(name: str, folder: Path | None = None, probed: Callable[[], ProbedModel] | None = None) -> Task:
    """The task called `name`, of what a study keeps in `folder` where it is made of more than its name.

    `probed` gives the study's model when called, for a task whose prior is the model itself.
    Raises `UserError` naming the tasks there are, and where a task needs a folder and has none, or a damaged one.
    """
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; the tasks are: {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    kind: Any = getattr(import_module(module), attribute)
    if not hasattr(kind, "load"):
        return kind()  # type: ignore[no-any-return]
    if folder is None or not folder.is_dir():
        raise UserError(f"task {name} is made of files, and there is no folder {folder or 'of them'}: open its study")
    return kind.load(folder, probed)  # type: ignore[no-any-return]
