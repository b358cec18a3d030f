"""The study that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.errors import UserError

if TYPE_CHECKING:
    from inversionview.studies.study import Study


def open_for(study: str, model: str | None = None, convention: str | None = None) -> Study:
    """The study, or with `model` the same task in another model. Raises `UserError`."""
    from inversionview.studies.study import load_study

    if model is None and convention is not None:
        raise UserError("--convention is for another model: give --model too")
    opened = load_study(study)
    return opened if model is None else opened.with_model(model, convention=convention)
