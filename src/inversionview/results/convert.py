"""Results as JSON documents and back: the one converter, which goes by the declarations of the dataclasses."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from inversionview.errors import UserError

SCHEMA = 1
"""Of every document."""

T = TypeVar("T")


def document(result: Any) -> dict[str, Any]:
    """The JSON document of a result, which begins with its schema version."""
    return {"schema": SCHEMA, **plain(result)}


def plain(value: Any) -> Any:
    """JSON types only: dataclasses as dictionaries, tuples and arrays as lists, None for what is not finite.

    A field whose default is None is left out where it is None.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        items = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {f.name: plain(item) for f, item in items if not (item is None and f.default is None)}
    return [plain(item) for item in (value.tolist() if hasattr(value, "tolist") else value)]


def parsed(kind: type[T], content: Any, what: str, *, made_by: str = "") -> T:
    """A result from its JSON document; `what` says in an error what it is ("the map in map.json").

    Raises `UserError` that names the place in the document where it is damaged; for one that lacks a field, what makes
    a whole one (`made_by`).
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        if made_by and (missing := re.search(r"missing required field `(\w+)`", str(error))):
            raise UserError(f"{what} is not whole: it lacks {missing[1]!r}; use {made_by}") from error
        raise UserError(f"{what} is damaged: {error}") from error


def frame(columns: Mapping[str, Any]) -> Any:
    """A pandas `DataFrame` of columns. Raises `UserError` without pandas (the extra `notebook`)."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError("to_pandas needs pandas: pip install pandas") from error
    return pd.DataFrame(columns)
