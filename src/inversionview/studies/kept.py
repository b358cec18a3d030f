"""What is kept in the folder of a study because it takes minutes to make, under the fingerprint of its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError
from inversionview.files import read_json, write_atomic
from inversionview.studies.description import bundled_studies
from inversionview.studies.finding import is_cached

if TYPE_CHECKING:
    from inversionview.studies.study import Study

SCHEMA = 1


def read_kept(file: Path, fingerprint: str, name: str) -> Any:
    """What a file holds under a name; None where there is no such file, it is damaged, or it is of another model."""
    if not file.is_file():
        return None
    try:
        content = read_json(file, f"{name} of a study")
    except UserError:
        return None
    if not isinstance(content, dict) or (content.get("schema"), content.get("fingerprint")) != (SCHEMA, fingerprint):
        return None
    return content.get(name)


def write_kept(file: Path, fingerprint: str, name: str, document: Any) -> None:
    """Write a document under a name. Raises `UserError` when it cannot be written."""
    content = {"schema": SCHEMA, "fingerprint": fingerprint, name: document}
    write_atomic(file, json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")


def keeps(study: Study) -> bool:
    """Whether something may be put into its folder: bundled ones and those in the hub's cache stay as they are."""
    return study.folder is not None and study.folder not in bundled_studies().values() and not is_cached(study.folder)
