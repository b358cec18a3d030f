"""The templates that come with the package, and those in files of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel
    from inversionview.tasks.template.task import TemplateTask


@dataclass(frozen=True)
class Template:
    """Makes the task of one template for a model, or opens what a study kept of it."""

    path: Path

    def __call__(self, probed: ProbedModel) -> TemplateTask:
        """The template in the tokens of a model."""
        return open_template(self.path, probed)

    def load(self, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> TemplateTask:
        """As `TemplateTask.load`."""
        from inversionview.tasks.template.task import TemplateTask

        return TemplateTask.load(folder, probed)


def open_template(
    path: str | Path, probed: ProbedModel, *, lists: Mapping[str, Sequence[str]] | None = None
) -> TemplateTask:
    """The template of a file in the tokens of a model. Raises `UserError` with the place of what is wrong in it."""
    from inversionview.tasks.template.file import read_template
    from inversionview.tasks.template.task import TemplateTask
    from inversionview.tasks.vocabulary import Vocabulary

    return TemplateTask.of(read_template(path, lists=lists), Vocabulary.of(probed))
