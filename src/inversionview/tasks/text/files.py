"""Texts and rows from files, from a folder of them, or from a data set of the hub by its name."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from inversionview.errors import UserError, one_line
from inversionview.progress import advance, stage
from inversionview.tasks.text.formats import COLUMN, READERS, Row, Rows, check_column, file_rows, iter_lines

MOST_TEXTS = 200_000
_ON_DISK = ("state.json", "dataset_dict.json")
"""One of these is in a folder that `datasets` saved."""
_IN_FOLDERS = (".txt", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""A `.json` file beside them says something about them, as a rule, and so does an `.md`."""
_HALF = re.compile("[\ud800-\udfff]")


def read_texts(source: str, column: str | None = None) -> list[str]:
    """The texts of a source, as `iter_texts` reads them, at most 200,000.

    Raises `UserError` that names what is missing, empty or not text.
    """
    texts = counted(islice(iter_texts(source, column), MOST_TEXTS))
    if not texts:
        raise UserError(f"{source} holds no text: every one is empty")
    return texts


def counted(texts: Iterable[str]) -> list[str]:
    """All of them, and tell how many there are so far."""
    read = []
    with stage("reading texts"):
        for text in texts:
            read.append(text)
            advance(1)
    return read


def iter_texts(source: str, column: str | None = None) -> Iterator[str]:
    """The texts of a file (`.txt`: one a line; `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`), a folder or a data set.

    Of a folder those that begin with `train`, where there are some; of a data set the split `train`. `column` holds the
    text, by default `text`. Empty ones are left out.
    """
    return (text for text in _texts(source, column or COLUMN) if text.strip())


def _texts(source: str, column: str) -> Iterator[str]:
    path = Path(source).expanduser()
    if path.suffix.lower() == ".txt" and path.is_file():
        yield from iter_lines(path)
        return
    # Closed at once: an error's traceback keeps what it went through, and so would keep a file open.
    with closing(_placed_rows(source, column)) as rows:
        for place, row in rows:
            yield _text(place, row, column)


def iter_rows(source: str, column: str | None = None) -> Generator[Row, None, None]:
    """The rows of a source; lines of a `.txt` file as rows of one text. With `column`, no more than that is needed."""
    with closing(_placed_rows(source, column)) as rows:
        for _, row in rows:
            yield row


def _placed_rows(source: str, column: str | None) -> Rows:
    path = Path(source).expanduser()
    if path.is_dir() and any((path / name).is_file() for name in _ON_DISK):
        return _saved_rows(path)
    if path.is_dir():
        return _folder_rows(path, column)
    if path.is_file():
        return file_rows(path, column)
    if path.suffix.lower() in READERS.keys() - {""} or path.is_absolute():
        raise UserError(f"there is no file {path}")
    return _hub_rows(source)


def _data_files(folder: Path) -> list[Path]:
    """Files of texts in a folder or its folder `data`, those of the training split where they are named so."""
    found = (path for at in (folder, folder / "data") for path in sorted(at.glob("*")))
    files = [path for path in found if path.suffix.lower() in _IN_FOLDERS]
    if not files:
        kinds = ", ".join(_IN_FOLDERS)
        raise UserError(f"{folder} is a folder without texts: give one that holds {kinds} files, or a file")
    return [path for path in files if path.name.startswith("train")] or files


def _folder_rows(folder: Path, column: str | None) -> Rows:
    for file in _data_files(folder):
        yield from file_rows(file, column)


def _text(place: str, row: Row, column: str) -> str:
    value = row.get(column)
    if value is None and column in row:
        return ""
    check_column(column, place, list(map(str, row)))
    if not isinstance(value, str):
        raise UserError(f"column {column!r} of {place} is not text; its columns are: {', '.join(map(str, row))}")
    if half := _HALF.search(value):
        raise UserError(f"column {column!r} of {place} holds half a character, \\u{ord(half[0]):04x}: mend that text")
    return value


def _saved_rows(folder: Path) -> Rows:
    datasets = _datasets(f"{folder} was saved by datasets, and reading it")
    try:
        rows = datasets.load_from_disk(str(folder))
        yield from _numbered(rows["train"] if isinstance(rows, dict) else rows, folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} is damaged, or has no split train: {' '.join(str(error).split())[:200]}") from error


def _numbered(rows: Any, source: object) -> Rows:
    for number, row in enumerate(rows, start=1):
        yield f"row {number} of {source}", row


def _hub_rows(name: str) -> Rows:
    datasets = _datasets(f"there is no file {name}; a data set")
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(name, timeout=10)  # datasets would try again for minutes where nothing can be reached
        yield from _numbered(datasets.load_dataset(name, split="train", streaming=True), name)
    except Exception as error:  # of the HTTP library, which is another one in each major version of huggingface_hub
        why = one_line(error)
        raise UserError(
            f"there is no file {name}, and no data set of that name can be reached ({why}); "
            "give the path of a .txt, .jsonl, .csv or .parquet file, or of a folder of them"
        ) from error


def _datasets(what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{what} needs datasets: pip install datasets") from error
    return datasets
