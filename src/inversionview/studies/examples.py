"""What to look at first in a study."""

from __future__ import annotations

from inversionview.errors import UserError
from inversionview.studies.study import Study
from inversionview.tasks.base import Start


def start_of(study: Study) -> Start | None:
    """The start of the study's task, with those of its sites that the study has; None where it can read none of it."""
    start = study.task.start
    if start is None:
        return None
    places = tuple(place for place in start.places if place[0] in study.sites)
    try:
        study.task.encode(start.input)  # which another tokenizer, or another table of facts, may not have
    except UserError:
        return None
    return Start(start.input, places) if places else None
