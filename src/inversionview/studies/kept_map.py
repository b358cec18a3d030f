"""The map of a study that is kept with it, in `map.json`: it takes minutes to make, and many things are drawn by it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from inversionview.errors import UserError
from inversionview.results import convert
from inversionview.results.map import Map
from inversionview.studies.description import MAP, StudyDescription
from inversionview.studies.kept import keeps, read_kept, write_kept

if TYPE_CHECKING:
    from inversionview.studies.study import Study


def kept_map(study: Study) -> Map | None:
    """The map in the study's folder; None where there is none, it is damaged, or it is of another model."""
    return None if study.folder is None else _read(study.folder, study.parts.fingerprint, lambda: study.task.name)


def described_map(folder: Path, description: StudyDescription) -> Map | None:
    """The same of a study that is not opened, which takes seconds; None also where its task has another name."""
    return _read(folder, description.fingerprint, lambda: description.task)


def keep_map(study: Study, document: Map) -> None:
    """Put the map of the whole study at its default settings into its folder, if one may write there."""
    if study.folder is not None and keeps(study):
        with suppress(UserError):
            write_map(study.folder, study.parts.fingerprint, document)


def write_map(folder: Path, fingerprint: str, document: Map) -> None:
    """Write `map.json`. Raises `UserError` when it cannot be written."""
    write_kept(folder / MAP, fingerprint, "map", document.to_dict())


def _read(folder: Path, fingerprint: str, task: Callable[[], str]) -> Map | None:
    document = read_kept(folder / MAP, fingerprint, "map")
    if not isinstance(document, dict) or document.get("schema") != convert.SCHEMA or document.get("task") != task():
        return None
    with suppress(UserError):
        return convert.parsed(Map, document, str(folder / MAP))
    return None
