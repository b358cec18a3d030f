"""The map of a study that is kept with it, in `map.json`: it takes minutes to make, and many things are drawn by it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError
from inversionview.files import read_json, write_atomic
from inversionview.results import convert
from inversionview.results.map import Map
from inversionview.studies.description import bundled_studies

if TYPE_CHECKING:
    from inversionview.studies.study import Study

FILE = "map.json"


def kept_map(study: Study) -> Map | None:
    """The map in the study's folder; None where there is none, it is damaged, or it is of another model."""
    file = None if study.folder is None else study.folder / FILE
    if file is None or not file.is_file():
        return None
    try:
        content = read_json(file, "map of a study")
    except UserError:
        return None
    try:
        return convert.parsed(Map, content["map"], str(file)) if _is_of(study, content) else None
    except UserError:
        return None


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


def _is_of(study: Study, content: Any) -> bool:
    if not isinstance(content, dict) or content.get("schema") != 1 or not isinstance(content.get("map"), dict):
        return False
    document = content["map"]
    return (
        content.get("fingerprint") == study.parts.fingerprint
        and document.get("schema") == convert.SCHEMA
        and document.get("task") == study.task.name
    )
