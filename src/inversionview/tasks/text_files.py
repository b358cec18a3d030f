"""Texts from a file, or from a data set of the hub by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inversionview.errors import UserError

COLUMN = "text"
MOST_TEXTS = 200_000
LONGEST_LINE = 1_000_000
"""Characters of one text that are read; of a longer one the rest is left out."""


def read_texts(source: str, column: str | None = None) -> list[str]:
    """The texts of a file (`.txt`: one a line, `.jsonl`, `.parquet`) or of a data set, at most 200,000.

    `column` holds the text, by default `text`. Raises `UserError` that names what is missing, empty or not text.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a folder: give a .txt, .jsonl or .parquet file of texts")
    if path.is_file():
        found = _from_file(path, column or COLUMN)
    elif path.suffix in (".txt", ".jsonl", ".parquet"):
        raise UserError(f"there is no file {path}")
    else:
        found = _from_hub(source, column or COLUMN)
    texts = [text for text in found if text.strip()]
    if not texts:
        raise UserError(f"{source} holds no text: every one is empty")
    return texts


def _from_file(path: Path, column: str) -> list[str]:
    if path.suffix == ".parquet":
        return _from_parquet(path, column)
    lines = _lines(path)
    if path.suffix == ".jsonl":
        return [_field(path, number, line, column) for number, line in enumerate(lines, start=1) if line.strip()]
    return list(lines)


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file, each up to a bound, so that a file of one endless line takes no more memory."""
    try:
        with path.open(encoding="utf-8") as file:
            for _ in range(MOST_TEXTS):
                line = file.readline(LONGEST_LINE)
                if not line:
                    return
                if "\0" in line:
                    raise UserError(f"{path} is not text: it holds bytes of value 0")
                yield line.rstrip("\n")
                while len(line) == LONGEST_LINE and not line.endswith("\n"):
                    line = file.readline(LONGEST_LINE)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: byte {error.start} cannot be read") from error


def _field(path: Path, number: int, line: str, column: str) -> str:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise UserError(f"line {number} of {path} is not JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get(column), str):
        there_are = ", ".join(map(str, row)) if isinstance(row, dict) else "none"
        raise UserError(f"line {number} of {path} has no text in column {column!r}; its columns are: {there_are}")
    return str(row[column])


def _from_parquet(path: Path, column: str) -> list[str]:
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise UserError("reading .parquet needs pyarrow: pip install 'inversionview[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if column not in names:
            raise UserError(f"{path} has no column {column!r}; its columns are: {', '.join(names)}")
        table = next(file.iter_batches(batch_size=MOST_TEXTS, columns=[column]), None)
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
        raise UserError(f"{path} is damaged or not Parquet: {' '.join(str(error).split())[:200]}") from error
    values = [] if table is None else table.column(0).to_pylist()
    if any(not isinstance(value, str | None) for value in values):
        raise UserError(f"column {column!r} of {path} is not text")
    return [value or "" for value in values]


def _from_hub(name: str, column: str) -> list[str]:
    try:
        import datasets  # type: ignore[import-untyped, unused-ignore]
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError(
            f"there is no file {name}; a data set needs datasets: pip install 'inversionview[text]'"
        ) from error
    try:
        HfApi().dataset_info(name, timeout=10)  # datasets would try again for minutes where nothing can be reached
        rows = datasets.load_dataset(name, split="train", streaming=True)
        first = list(rows.take(MOST_TEXTS))
    except Exception as error:  # of the HTTP library, which is another one in each major version of huggingface_hub
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"there is no file {name}, and no data set of that name can be reached ({why}); "
            "give the path of a .txt, .jsonl or .parquet file"
        ) from error
    if first and column not in first[0]:
        raise UserError(f"the data set {name} has no column {column!r}; its columns are: {', '.join(first[0])}")
    return [str(row[column]) for row in first]
