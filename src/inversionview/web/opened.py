"""The studies that a server answers about, opened before it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from inversionview.report.wire import pack_map
from inversionview.studies.kept_explanations import kept_explanations
from inversionview.studies.kept_map import kept_map
from inversionview.studies.study import Study
from inversionview.web.documents import study_document


class Opened:
    """A study whose models are loaded, under the name that addresses use."""

    def __init__(self, name: str, study: Study) -> None:
        self.name, self.study = name, study
        _ = study.probed, study.task, study.decoder
        self.document = study_document(name, study)
        """What the page is told about it."""

    def map(self) -> dict[str, Any] | None:
        """The map that is kept with it, packed, with what is kept of its sites in words; or None."""
        kept = kept_map(self.study)
        return None if kept is None else pack_map(kept, kept_explanations(self.study))


def named(studies: Sequence[Study]) -> dict[str, Opened]:
    """Studies by names that fit into an address; of two of one name the second gets a number."""
    opened: dict[str, Opened] = {}
    for study in studies:
        name = base = re.sub(r"[^A-Za-z0-9._-]+", "-", study.name).strip(".-") or "study"
        for number in range(2, len(studies) + 2):
            if name not in opened:
                break
            name = f"{base}-{number}"
        opened[name] = Opened(name, study)
    return opened
