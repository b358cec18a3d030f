"""Answers as files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from inversionview.errors import UserError
from inversionview.results.preimage import Preimage
from inversionview.web.jobs import Kept
from inversionview.web.settings import Limits

TYPES = {
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "html": "text/html; charset=utf-8",
}


class NoFileError(Exception):
    """What was asked for cannot be had in this form."""


def as_file(kept: Kept, kind: str, limits: Limits) -> bytes:
    """A reading as what `Preimage.save` or `to_html` writes, other answers as their JSON. Raises `NoFileError`."""
    if kept.preimage is None:
        if kind != "json":
            raise NoFileError("this answer is no reading, and can be had as .json only")
        return kept.document
    return _reading(kept.preimage, kind, limits)


def _reading(preimage: Preimage, kind: str, limits: Limits) -> bytes:
    if kind == "html":
        return preimage.to_html().encode()
    if len(preimage) > limits.download_members:
        raise NoFileError(
            f"this reading has {len(preimage):,} members, and at most {limits.download_members:,} are sent as a file: "
            f"`inversionview read --exact` has no such limit"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"reading.{kind}"
        try:
            preimage.save(path)
        except UserError as error:  # without pyarrow
            raise NoFileError(str(error)) from error
        return path.read_bytes()
