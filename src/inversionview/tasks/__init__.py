"""Input domains, one a room, and those of other packages and of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError
from inversionview.registry import Registry
from inversionview.tasks.base import Configured, Constrained, Feature, Split, Task
from inversionview.tasks.template.bundled import Template
from inversionview.tasks.template.file import bundled

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

__all__ = ["TASKS", "Configured", "Constrained", "Feature", "Split", "Task", "get_task", "register_task"]

TASKS: Registry[Callable[..., Task]] = Registry(
    "task",
    "inversionview.tasks",
    {
        "addition": "inversionview.tasks.addition.task:AdditionTask",
        "counting": "inversionview.tasks.counting.task:CountingTask",
        "fact-table": "inversionview.tasks.facts.task:FactsTask",
        "facts-and-texts": "inversionview.tasks.facts.with_texts:FactsAndTextsTask",
        "template": "inversionview.tasks.template.task:TemplateTask",
        "text": "inversionview.tasks.text.task:TextTask",
        **{name: Template(path) for name, path in bundled().items()},
    },
)
"""What makes each task: its class, or a function; entry points of the group `inversionview.tasks` are among them."""


def register_task(name: str, make: Callable[..., Task]) -> None:
    """Let `get_task`, studies and the command line find a task of your own by its name.

    `make` is called without arguments or, where it takes `probed`, with the model that is read, whose tokenizer is
    `probed.tokenizer`. For a task that a study keeps in its folder it is a class with `load`, as `Configured` says.
    Raises `UserError` for a name that another task has.
    """
    TASKS.register(name, make)


def get_task(name: str, folder: Path | None = None, probed: Callable[[], ProbedModel] | None = None) -> Task:
    """The task called `name`, of what a study keeps in `folder` where it is made of more than its name.

    `probed` gives the study's model when called, for a task in its tokens, or whose prior is the model itself.
    Raises `UserError` naming the tasks there are, and where a task needs a folder and has none, or a damaged one.
    """
    make: Any = TASKS.find(name)
    kept = hasattr(make, "load")
    if kept and folder is not None and folder.is_dir():
        return make.load(folder, probed)  # type: ignore[no-any-return]
    for_a_model = "probed" in signature(make).parameters
    if kept and not for_a_model:
        raise UserError(f"task {name} is made of files, and there is no folder {folder or 'of them'}: open its study")
    if not for_a_model:
        return make()  # type: ignore[no-any-return]
    if probed is None:
        raise UserError(f"task {name} is made for a model: open its study, or give open_study a model")
    return make(probed())  # type: ignore[no-any-return]
