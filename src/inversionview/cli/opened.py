"""The study that a command is about."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from inversionview.cli.waiting import importing
from inversionview.errors import UserError
from inversionview.progress import doing
from inversionview.studies.finding import find_study, is_study
from inversionview.studies.settings import ModelSettings

if TYPE_CHECKING:
    from inversionview.studies.study import Study


def open_for(study: str, of: ModelSettings | None = None) -> Study:
    """The study, or with a model its task, or a domain that is no study, in that model. Raises `UserError`."""
    of = of or ModelSettings()
    if of.model is None:
        for option, value in vars(of).items():
            if value is not None and option != "device":
                raise UserError(f"--{option} is for another model: give --model too")
        folder = find_study(study)  # a name that is none is known before anything is loaded
    with importing():
        from inversionview.studies.study import load_study, open_study
    if of.model is None:
        return load_study(folder, device=of.device)
    how = dataclasses.asdict(of)
    with doing(f"loading the model {of.model}"):
        if not is_study(study):
            return open_study(study, **how)
        return load_study(study).with_model(**how)
