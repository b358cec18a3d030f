"""Reading and writing files so that a kill, a full disk or a damaged file never costs more than the last write.

A write goes to a temporary name beside its target, reaches the disk, and is then renamed into place: a reader sees the
old content or the new, never a part. What goes wrong with a file is the user's to mend, so it is a `UserError` that
names the file. Nothing here is pickled.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_PART = ".part"


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces `path` when the block ends well and vanishes when it does not.

    An `OSError` in the block or in the renaming (a full disk, say) becomes a `UserError`; the old file stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)  # safetensors makes files that only their owner may read
        _to_disk(part)
        os.replace(part, path)
        _to_disk(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which becomes `path` when the block ends well and vanishes when it does not.

    A folder that was there is set aside as `.NAME.old` until the new one is in place, then removed. Two renames are not
    one: after a kill between them only the `.old` is there, and `restore_folder(path)` brings it back. What must not
    know that instant uses a new name each time, as the checkpoints do. An `OSError` becomes a `UserError`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}{_PART}")
    try:
        restore_folder(path)
        shutil.rmtree(part, ignore_errors=True)  # left by a killed run
        part.mkdir(parents=True)
        yield part
        for file in sorted(part.rglob("*")):
            if file.is_file():
                file.chmod(part.stat().st_mode & 0o666)  # as in atomic_file
            _to_disk(file)
        _swap(part, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def restore_folder(path: str | Path) -> None:
    """Bring back the folder that a kill in the middle of `atomic_folder` left set aside; else do nothing."""
    path = Path(path)
    old = _set_aside(path)
    if old.is_dir() and not path.exists():
        old.rename(path)


def new_folder(path: str | Path, *, resume: bool = False) -> Path:
    """Make a folder for results, with its parents; with `resume` one that has content is welcome.

    Raises `UserError` when there is something at `path` already, or nothing can be written there.
    """
    path = Path(path)
    probe = path / f".{secrets.token_hex(4)}{_PART}"
    try:
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; the output needs a folder of its own")
        if not resume and path.is_dir() and any(path.iterdir()):
            raise UserError(
                f"the folder {path} exists and is not empty; give another, remove it, or resume the run that made it"
            )
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write into the folder {path}: {_reason(error)}") from error
    return path


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write a whole file, text as UTF-8; raises `UserError` when it cannot be written, and then leaves the old file."""
    with atomic_file(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | Path, content: Any) -> None:
    """Write one JSON document, indented, keys in the order given; NaN, which JSON lacks, is a `ValueError`."""
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of any shapes as safetensors, which knows no ties: tensors that share memory are a `RuntimeError`.

    Raises `UserError` when it cannot be written; the old file is left.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    ready = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as part:
        try:
            save_file(ready, part, dict(metadata or {}))
        except SafetensorError as error:  # how a full disk looks from there
            raise UserError(f"cannot write {path}: {_one_line(error)}") from error


def read_json(path: str | Path, what: str) -> Any:
    """Read one JSON document; `what` says in an error what it is ("study description").

    Raises `UserError` when it is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"there is no {what} at {path}") from error
    except OSError as error:
        raise UserError(f"cannot read the {what} {path}: {_reason(error)}") from error
    except ValueError as error:  # malformed JSON, or bytes that are not text
        raise UserError(f"the {what} {path} is damaged or truncated: {_one_line(error)}") from error


def checked_schema(document: Any, path: str | Path, what: str, schema: int) -> dict[str, Any]:
    """Give a document that says its schema version; `what` says in an error what it should be ("a saved preimage").

    Raises `UserError` when it has none, or one above `schema`.
    """
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise UserError(f"{path} is not {what}: it has no schema version")
    if document["schema"] > schema:
        raise UserError(f"{path} was written by a newer inversionview (schema {document['schema']}): upgrade first")
    return document


def read_tensors(path: str | Path, *, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors of a safetensors file by name.

    Raises `UserError` when it is missing, unreadable, damaged or truncated.
    """
    from safetensors import safe_open

    with _reading_tensors(path), safe_open(path, framework="pt", device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict, has no iteration


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; raises as `read_tensors` does."""
    from safetensors import safe_open

    with _reading_tensors(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


@contextmanager
def _reading_tensors(path: str | Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        yield
    except FileNotFoundError as error:
        raise UserError(f"there is no tensor file at {path}") from error
    except OSError as error:
        raise UserError(f"cannot read the tensor file {path}: {_reason(error)}") from error
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or truncated: {_one_line(error)}") from error


def _swap(part: Path, path: Path) -> None:
    old = _set_aside(path)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    try:
        part.rename(path)
    except OSError:
        restore_folder(path)
        raise
    _to_disk(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _set_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder to flush it
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {_reason(error)}")


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run it again"
    return error.strerror or _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
