"""Rows of a file of each kind, each with the words for its place: `line 3 of FILE`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from inversionview.errors import UserError
from inversionview.files import read_json

COLUMN = "text"
LONGEST_LINE = 1_000_000
"""Characters of one text that are read; of a longer one the rest is left out."""
LONGEST_ROW = 2**26
"""Characters of one line of JSON, which cannot be cut."""
LARGEST_DOCUMENT = 2**30
"""Bytes of one JSON document, which cannot be read in parts."""
_ROWS = 1000
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""A byte of value 0, and what a byte becomes that is not UTF-8."""

Row = dict[str, Any]
Rows = Generator[tuple[str, Row], None, None]


def file_rows(path: Path, column: str | None) -> Rows:
    """The rows of a file by the ending of its name; lines of text as rows of one `column`.

    Raises `UserError` for an ending that says nothing, and one that names the line where something is wrong.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise UserError(
            f"{path} is of a kind that no texts are read from: give {', '.join(filter(None, READERS))}; "
            "if each of its lines is a text, let its name end in .txt"
        )
    return read(path, column)


def iter_lines(path: Path, most: int | None = None) -> Generator[str, None, None]:
    """Lines of a text file, each up to a bound, so that a file of one endless line takes no more memory."""
    most = most or LONGEST_LINE
    with _opened(path) as file:
        number = 1
        while line := file.readline(most):
            if not line.isascii() or "\0" in line:
                _check_is_text(path, number, line)
            yield line.rstrip("\n")
            while len(line) == most and not line.endswith("\n"):
                line = file.readline(most)
            number += 1


def _opened(path: Path, newline: str | None = None) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _check_is_text(path: Path, number: int, line: str) -> None:
    wrong = _NO_TEXT.search(line)
    if wrong is None:
        return
    if wrong[0] == "\0":
        raise UserError(f"line {number} of {path} is not text: it holds a byte of value 0")
    at = len(line[: wrong.start()].encode()) + 1
    byte = wrong[0].encode(errors="surrogateescape")[0]
    is_utf_16 = number == 1 and line[:2] in ("\udcff\udcfe", "\udcfe\udcff")
    advice = "; it is UTF-16, it seems: save it as UTF-8" if is_utf_16 else ""
    raise UserError(f"line {number} of {path} is not text in UTF-8: its byte {at} is 0x{byte:02x}{advice}")


def _line_rows(path: Path, column: str | None) -> Rows:
    for number, line in enumerate(iter_lines(path), start=1):
        yield f"line {number} of {path}", {column or COLUMN: line}


def _json_lines(path: Path, column: str | None = None) -> Rows:
    with closing(iter_lines(path, LONGEST_ROW)) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = f"line {number} of {path}"
                yield place, _json_row(place, line)


def _json_row(place: str, line: str) -> Row:
    if len(line) >= LONGEST_ROW:
        raise UserError(f"{place} is longer than {LONGEST_ROW:,} characters: give one row a line")
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f'{place} is no row: it should be an object, such as {{"{COLUMN}": "..."}}')
    return row


def _json_rows(path: Path, column: str | None) -> Rows:
    """Of one document that is a list of rows or of texts, or of a file with a row a line, which is called the same."""
    if _has_row_in_a_line(path):
        yield from _json_lines(path)
        return
    if path.stat().st_size > LARGEST_DOCUMENT:
        raise UserError(
            f"{path} is one document of more than {LARGEST_DOCUMENT >> 30} GiB: give a row a line, as .jsonl"
        )
    document = read_json(path, "file of texts")
    if not isinstance(document, list):
        raise UserError(
            f'{path} is no list of rows: it should be such as [{{"{COLUMN}": "..."}}, ...], or a row a line'
        )
    for number, entry in enumerate(document, start=1):
        place = f"entry {number} of {path}"
        if not isinstance(entry, dict | str):
            raise UserError(f'{place} is no row: it should be an object, such as {{"{COLUMN}": "..."}}, or a text')
        yield place, {column or COLUMN: entry} if isinstance(entry, str) else entry


def _has_row_in_a_line(path: Path) -> bool:
    with closing(iter_lines(path, LONGEST_ROW)) as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _separated(delimiter: str) -> Callable[[Path, str | None], Rows]:
    def read(path: Path, column: str | None) -> Rows:
        csv.field_size_limit(LONGEST_ROW)
        with _opened(path, newline="") as file:
            rows = csv.reader(_checked(path, file), delimiter=delimiter, strict=True)
            try:
                names = next(rows, [])
                for fields in rows:
                    place = f"line {rows.line_num} of {path}"
                    if fields and len(fields) != len(names):
                        raise UserError(
                            f"{place} has {len(fields)} fields, and the first line names {len(names)} columns"
                        )
                    if fields:
                        yield place, dict(zip(names, fields, strict=True))
            except csv.Error as error:
                raise UserError(f"line {rows.line_num} of {path} is not as in {path.suffix} files: {error}") from error

    return read


def _checked(path: Path, file: TextIO) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        _check_is_text(path, number, line)
        yield line


def _parquet_rows(path: Path, column: str | None) -> Rows:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError("reading .parquet needs pyarrow: pip install pyarrow") from error
    number = 0
    try:
        file = parquet.ParquetFile(path)
        names: list[str] = file.schema_arrow.names
        if column is not None:
            check_column(column, path, names)
        for batch in file.iter_batches(batch_size=_ROWS, columns=None if column is None else [column]):
            for index in range(batch.num_rows):
                number += 1
                yield (
                    f"row {number} of {path}",
                    {name: batch.column(name)[index].as_py() for name in batch.schema.names},
                )
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(
            f"row {number} of {path} is not text in UTF-8: its byte {error.start + 1} cannot be read"
        ) from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
        raise UserError(f"{path} is damaged or not Parquet: {' '.join(str(error).split())[:200]}") from error


def check_column(column: str, source: str | Path, names: list[str]) -> None:
    """Raise `UserError` that names the columns where this is none of them."""
    if column not in names:
        raise UserError(f"column {column!r} of {source} is not there; its columns are: {', '.join(names) or 'none'}")


READERS: dict[str, Callable[[Path, str | None], Rows]] = {
    ".txt": _line_rows,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_rows,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet_rows,
    ".text": _line_rows,
    ".md": _line_rows,
    "": _line_rows,
}
"""By the ending of a file's name, in small letters."""
