"""The map of a study that is kept with it, in `map.json`: it takes minutes to make, and many things are drawn by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError
from inversionview.files import read_json, write_atomic
from inversionview.results import convert
from inversionview.results.map import Map
from inversionview.studies.description import StudyDescription, bundled_studies

if TYPE_CHECKING:
    from inversionview.studies.study import Study

FILE = "map.json"


def kept_map(study: Study) -> Map | None:
    """The map in the study's folder; None where there is none, it is damaged, or it is of another model."""
    return None if study.folder is None else _read(study.folder, study.parts.fingerprint, lambda: study.task.name)


def described_map(folder: Path, description: StudyDescription) -> Map | None:
    """The same of a study that is not opened, which takes seconds; None also where its task has another name."""
    return _read(folder, description.fingerprint, lambda: description.task)


def keep_map(study: Study, document: Map) -> None:
    """Put the map of the whole study at its default settings into its folder, if one may write there.

    Not into that of a bundled study: it has one, and is no place for what is made later.
    """
    if study.folder is None or study.folder in bundled_studies().values():
        return
    with suppress(UserError):
        write_map(study.folder, study.parts.fingerprint, document)


def write_map(folder: Path, fingerprint: str, document: Map) -> None:
    """Write `map.json`. Raises `UserError` when it cannot be written."""
    content = {"schema": 1, "fingerprint": fingerprint, "map": document.to_dict()}
    write_atomic(folder / FILE, json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")


def _read(folder: Path, fingerprint: str, task: Callable[[], str]) -> Map | None:
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        content = read_json(file, "map of a study")
        return convert.parsed(Map, content["map"], str(file)) if _is_of(content, fingerprint, task) else None
    except UserError:
        return None


def _is_of(content: Any, fingerprint: str, task: Callable[[], str]) -> bool:
    if not isinstance(content, dict) or content.get("schema") != 1 or not isinstance(content.get("map"), dict):
        return False
    document = content["map"]
    return (
        content.get("fingerprint") == fingerprint
        and document.get("schema") == convert.SCHEMA
        and document.get("task") == task()
    )
