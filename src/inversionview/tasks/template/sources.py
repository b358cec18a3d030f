"""Where the words of a template come from: the file itself, or lists and tables beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from inversionview.errors import UserError


@dataclass
class Files:
    """The files of one template: where each is, and what was read of it, so that a study can keep them."""

    folder: Path
    names: Mapping[str, str] = field(default_factory=dict)
    """Where a file is that has another name here than in the template, as in the folder of a study."""
    contents: dict[str, bytes] = field(default_factory=dict)

    def read(self, name: str) -> str:
        """The text of a file. Raises `UserError` where it is not there or no text."""
        path = self.folder / self.names.get(name, name)
        try:
            self.contents[name] = path.read_bytes()
            return self.contents[name].decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = "there is no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error}"
            raise UserError(f"{name!r}: {why}") from error


@dataclass(frozen=True)
class Table:
    """Rows of texts under the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        """What stands there in each row."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]


def read_list(files: Files, name: str) -> list[str]:
    """The values in a file: a JSON list, or one a line, but empty lines and those that start with `#`."""
    text = files.read(name)
    if not name.endswith(".json"):
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    return checked_texts(_json(text, name), name)


def read_table(files: Files, name: str) -> Table:
    """The table in a CSV or TSV file with a line of names, or in a JSON file as a list of objects."""
    text = files.read(name)
    if name.endswith(".json"):
        return table_of(_json(text, name), name)
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if name.endswith(".tsv") else ","))
    rows = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    return _checked(rows, name)


def table_of(content: Any, where: str) -> Table:
    """The table of a list of objects with the same keys, or of a list of lists, the first of which names the columns.

    Raises `UserError` that names the row that is neither.
    """
    if not isinstance(content, list) or not content:
        _wrong(where, "a table is a list of rows, each with the same columns")
    if isinstance(content[0], dict):
        columns = list(content[0])
        for number, row in enumerate(content, start=1):
            if not isinstance(row, dict) or list(row) != columns:
                _wrong(where, f"row {number} has other columns than {', '.join(columns)}")
        return _checked([columns, *([row[column] for column in columns] for row in content)], where)
    return _checked(content, where)


def checked_texts(content: Any, where: str) -> list[str]:
    """The same, if it is a list of texts that are not empty. Raises `UserError` that names the first which is none."""
    if not isinstance(content, list) or not content:
        _wrong(where, "a list of one text or more is needed")
    for value in content:
        if not isinstance(value, str) or not value.strip() or value != value.strip():
            _wrong(where, f"{value!r} is no text to fill a slot with: it needs letters, and no spaces around them")
    return list(content)


def _checked(rows: Any, where: str) -> Table:
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    if len(rows) < 2 or not width:
        _wrong(where, "a table has a line with the names of its columns, and rows below it")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            _wrong(where, f"row {number} has not the {width} columns {', '.join(map(str, rows[0]))}")
        checked_texts(row, f"{where}, row {number}")
    return Table(tuple(rows[0]), tuple(map(tuple, rows[1:])))


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{name!r} is no JSON: {error}") from error


def _wrong(where: str, what: str) -> NoReturn:
    raise UserError(f"{where}: {what}")
