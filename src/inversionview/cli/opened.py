"""The study that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.errors import UserError

if TYPE_CHECKING:
    from inversionview.studies.study import Study


def open_for(study: str, model: str | None = None, convention: str | None = None) -> Study:
    """The study, or with `model` its task, or a domain that is no study, in another model. Raises `UserError`."""
    from inversionview.studies.description import is_study
    from inversionview.studies.study import load_study, open_study

    if model is None and convention is not None:
        raise UserError("--convention is for another model: give --model too")
    if model is not None and not is_study(study):
        return open_study(study, model=model, convention=convention)
    opened = load_study(study)
    return opened if model is None else opened.with_model(model, convention=convention)
