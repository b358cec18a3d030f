"""Texts and rows from files, from a folder of them, or from a data set of the hub by its name."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from inversionview.errors import UserError

COLUMN = "text"
MOST_TEXTS = 200_000
LONGEST_LINE = 1_000_000
"""Characters of one text that are read; of a longer one the rest is left out."""
LONGEST_ROW = 2**26
"""Characters of one line of JSON, which cannot be cut."""
KINDS = (".txt", ".jsonl", ".parquet")
_ROWS = 1000
_ON_DISK = ("state.json", "dataset_dict.json")
"""One of these is in a folder that `datasets` saved."""

Row = dict[str, Any]


def read_texts(source: str, column: str | None = None) -> list[str]:
    """The texts of a source, as `iter_texts` reads them, at most 200,000.

    Raises `UserError` that names what is missing, empty or not text.
    """
    texts = list(islice(iter_texts(source, column), MOST_TEXTS))
    if not texts:
        raise UserError(f"{source} holds no text: every one is empty")
    return texts


def iter_texts(source: str, column: str | None = None) -> Iterator[str]:
    """The texts of a file (`.txt`: one a line, `.jsonl`, `.parquet`), of a folder of such files, or of a data set.

    Of a folder those that begin with `train`, where there are some; of a data set the split `train`. `column` holds the
    text, by default `text`. Empty ones are left out.
    """
    if Path(source).suffix == ".txt" and Path(source).expanduser().is_file():
        texts: Iterator[str] = _lines(Path(source).expanduser())
    else:
        texts = _texts(source, column or COLUMN)
    return (text for text in texts if text.strip())


def _texts(source: str, column: str) -> Iterator[str]:
    # Closed at once: an error's traceback keeps what it went through, and so would keep a file open.
    with closing(iter_rows(source, column)) as rows:
        for row in rows:
            yield _text(source, row, column)


def iter_rows(source: str, column: str | None = None) -> Generator[Row, None, None]:
    """The rows of a source; lines of a `.txt` file as rows of one text. With `column`, no more than that is needed."""
    path = Path(source).expanduser()
    if path.is_dir() and any((path / name).is_file() for name in _ON_DISK):
        return _saved_rows(path)
    if path.is_dir():
        return _folder_rows(path, column)
    if path.is_file():
        return _file_rows(path, column)
    if path.suffix in (*KINDS, ".json") or path.is_absolute():
        raise UserError(f"there is no file {path}")
    return _hub_rows(source)


def _data_files(folder: Path) -> list[Path]:
    """Files of texts in a folder or its folder `data`, those of the training split where they are named so."""
    files = [path for at in (folder, folder / "data") for path in sorted(at.glob("*")) if path.suffix in KINDS]
    if not files:
        raise UserError(f"{folder} is a folder without texts: give one that holds {', '.join(KINDS)} files, or a file")
    return [path for path in files if path.name.startswith("train")] or files


def _folder_rows(folder: Path, column: str | None) -> Generator[Row, None, None]:
    for file in _data_files(folder):
        yield from _file_rows(file, column)


def _file_rows(path: Path, column: str | None) -> Generator[Row, None, None]:
    if path.suffix == ".parquet":
        return _parquet_rows(path, column)
    if path.suffix == ".jsonl":
        return _json_rows(path)
    return ({column or COLUMN: line} for line in _lines(path))


def _json_rows(path: Path) -> Generator[Row, None, None]:
    with closing(_lines(path, LONGEST_ROW)) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json_row(path, number, line)


def _lines(path: Path, most: int | None = None) -> Generator[str, None, None]:
    """Lines of a text file, each up to a bound, so that a file of one endless line takes no more memory."""
    most = most or LONGEST_LINE
    try:
        with path.open(encoding="utf-8") as file:
            while line := file.readline(most):
                if "\0" in line:
                    raise UserError(f"{path} is not text: it holds bytes of value 0")
                yield line.rstrip("\n")
                while len(line) == most and not line.endswith("\n"):
                    line = file.readline(most)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: byte {error.start} cannot be read") from error


def _json_row(path: Path, number: int, line: str) -> Row:
    if len(line) >= LONGEST_ROW:
        raise UserError(f"line {number} of {path} is longer than {LONGEST_ROW:,} characters: give one row a line")
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise UserError(f"line {number} of {path} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f'line {number} of {path} is no row: it should be an object, such as {{"{COLUMN}": "..."}}')
    return row


def _text(source: str, row: Row, column: str) -> str:
    value = row.get(column)
    if value is None and column in row:
        return ""
    if not isinstance(value, str):
        what = "is not text" if column in row else "is not there"
        raise UserError(f"column {column!r} of {source} {what}; its columns are: {', '.join(map(str, row)) or 'none'}")
    return value


def _parquet_rows(path: Path, column: str | None) -> Generator[Row, None, None]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError("reading .parquet needs pyarrow: pip install 'inversionview[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if column is not None and column not in names:
            raise UserError(f"{path} has no column {column!r}; its columns are: {', '.join(names)}")
        for batch in file.iter_batches(batch_size=_ROWS, columns=None if column is None else [column]):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
        raise UserError(f"{path} is damaged or not Parquet: {' '.join(str(error).split())[:200]}") from error


def _saved_rows(folder: Path) -> Generator[Row, None, None]:
    datasets = _datasets(f"{folder} was saved by datasets, and reading it")
    try:
        rows = datasets.load_from_disk(str(folder))
        yield from rows["train"] if isinstance(rows, dict) else rows
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} is damaged, or has no split train: {' '.join(str(error).split())[:200]}") from error


def _hub_rows(name: str) -> Generator[Row, None, None]:
    datasets = _datasets(f"there is no file {name}; a data set")
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(name, timeout=10)  # datasets would try again for minutes where nothing can be reached
        yield from datasets.load_dataset(name, split="train", streaming=True)
    except Exception as error:  # of the HTTP library, which is another one in each major version of huggingface_hub
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"there is no file {name}, and no data set of that name can be reached ({why}); "
            "give the path of a .txt, .jsonl or .parquet file, or of a folder of them"
        ) from error


def _datasets(what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{what} needs datasets: pip install 'inversionview[text]'") from error
    return datasets
