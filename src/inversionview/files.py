"""Reading and writing files so that a kill, a full disk or a damaged file never costs more than the last write.

A write goes to a temporary name beside its target, reaches the disk, and is then renamed into place: a reader sees the
old content or the new, never a part. What goes wrong with a file is the user's to mend, so it is a `UserError` that
names the file. Nothing here is pickled.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor

_PART, _CLAIM = ".part", ".claim"


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces `path` when the block ends well and vanishes when it does not.

    An `OSError` in the block or in the renaming (a full disk, say) becomes a `UserError`; the old file stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
    try:
        with _writing(path):
            part.touch(exist_ok=False)
            mode = part.stat().st_mode
            yield part
            part.chmod(mode)  # safetensors makes files that only their owner may read
            _to_disk(part)
            os.replace(part, path)
            _to_disk(path.parent)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def atomic_folder(path: str | Path, *, new: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill, which becomes `path` when the block ends well and vanishes when it does not.

    A folder that was there is set aside as `.NAME.old` until the new one is in place, then removed; with `new` one that
    has content is a `UserError`, as it is when another process is writing it. Two renames are not one: after a kill
    between them only the `.old` is there, and `restore_folder(path)` brings it back. What must not know that instant
    uses a new name each time, as the checkpoints do. What goes wrong in writing becomes a `UserError`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}{_PART}")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path.with_name(f".{path.name}{_CLAIM}"), path):
            try:
                restore_folder(path)
                if new:
                    with claimed(path):
                        pass
                shutil.rmtree(part, ignore_errors=True)  # left by a killed run
                part.mkdir()
                yield part
                _settle(part)
                _swap(part, path)
            finally:
                shutil.rmtree(part, ignore_errors=True)


def restore_folder(path: str | Path) -> None:
    """Bring back the folder that a kill in the middle of `atomic_folder` left set aside; else do nothing."""
    path = Path(path)
    old = _set_aside(path)
    if old.is_dir() and not path.exists():
        old.rename(path)


@contextmanager
def claimed(path: str | Path, *, resume: bool = False, wait: float = 0) -> Iterator[Path]:
    """Hold a folder for results from before the first long step to the last write, so that no other run writes there.

    It is made, with its parents, and goes again where nothing was put into it. With `resume` one that has content is
    welcome. The claim is a locked file `.claim` in it that says who holds it; what a killed run left claimed is free.
    Of processes that work together one claims for all. Others are waited for up to `wait` seconds.

    Raises `UserError` when another run holds it, there is something at `path` already, or nothing can be written there.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with ExitStack() as held:
            try:
                if not path.is_dir():
                    _check_new(path)
                path.mkdir(parents=True, exist_ok=True)
                claim = path / _CLAIM
                was_killed = claim.exists()
                held.enter_context(_held(claim, path, wait))
                if not resume:
                    if was_killed:
                        _remove_parts(path)
                    _check_new(path)
            except OSError as error:
                raise UserError(f"cannot write into the folder {path}: {_reason(error)}") from error
            yield path
    finally:
        with suppress(OSError):  # it holds the results
            for folder in made:
                folder.rmdir()


@contextmanager
def filled(folder: Path, last: str) -> Iterator[Path]:
    """Give a temporary folder to fill, whose entries move into the claimed `folder` when the block ends well.

    None of them is there before all are written, and `last`, which says that they are there, comes last.
    """
    part = folder / f".new{_PART}"
    try:
        with _writing(folder):
            shutil.rmtree(part, ignore_errors=True)  # left by a killed run
            part.mkdir()
            yield part
            _settle(part)
            for entry in sorted(part.iterdir(), key=lambda entry: entry.name == last):
                if entry.is_dir():
                    _swap(entry, folder / entry.name)
                else:
                    os.replace(entry, folder / entry.name)
            _to_disk(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _held(claim: Path, what: Path, wait: float = 0) -> Iterator[None]:
    """Hold the lock of a claim file. The system lets go of it when its process ends, however that does."""
    until = time.monotonic() + wait
    while (handle := _locked(claim)) is None:
        if time.monotonic() >= until:
            raise UserError(f"{what} is being written by {_holder(claim)}: wait until that is done, or give another")
        time.sleep(0.05)
    try:
        os.truncate(handle, 0)
        os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        with suppress(OSError):
            claim.unlink()
        os.close(handle)


def _locked(claim: Path) -> int | None:
    """A handle of the claim file with its lock; None where another has it."""
    handle = os.open(claim, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _lock(handle) and claim.exists() and os.path.samestat(os.fstat(handle), claim.stat()):
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)  # held, or released and removed since it was opened
    return None


def _lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 2**20, os.SEEK_SET)  # what is locked there cannot be read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system that knows no locks
            raise
    return True


def _holder(claim: Path) -> str:
    try:
        holder = json.loads(claim.read_bytes())
        return f"another run (process {holder['process']} on {holder['host']})"
    except (OSError, ValueError, LookupError, TypeError):  # just now claimed, or let go
        return "another run"


def _check_new(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; the output needs a folder of its own")
    if path.exists() and any(entry.name != _CLAIM for entry in path.iterdir()):
        raise UserError(
            f"the folder {path} exists and is not empty; give another, remove it, or resume the run that made it"
        )


def _remove_parts(path: Path) -> None:
    """Remove what a run that was killed had not written to its end."""
    for entry in (*path.glob(f".*{_PART}"), *path.glob(f".*{_CLAIM}")):  # but for its own, which has no name before it
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def cache_folder(name: str) -> Path:
    """A folder of that name for what can be made again: in `INVERSIONVIEW_CACHE`, or where the platform keeps caches.

    Raises `UserError` when it cannot be made.
    """
    home = Path.home()
    usual = {"darwin": home / "Library" / "Caches", "win32": Path(os.environ.get("LOCALAPPDATA") or home)}
    caches = Path(os.environ.get("XDG_CACHE_HOME") or usual.get(sys.platform, home / ".cache"))
    folder = Path(os.environ.get("INVERSIONVIEW_CACHE") or caches / "inversionview") / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the cache {folder}: {_reason(error)}; INVERSIONVIEW_CACHE names another"
        ) from error
    return folder


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
    from safetensors.torch import save_file

    ready = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as part:
        save_file(ready, part, dict(metadata or {}))


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
        raise UserError(f"the {what} {path} is damaged or truncated: {one_line(error)}") from error


def checked_schema(document: Any, path: str | Path, what: str, schema: int) -> dict[str, Any]:
    """Give a document that says its schema version; `what` says in an error what it should be ("a saved preimage").

    Raises `UserError` when it has none, or one above `schema`.
    """
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise UserError(f"{path} is not {what}: it has no schema version")
    if document["schema"] > schema:
        raise UserError(f"{path} was written by a newer inversionview (schema {document['schema']}): upgrade first")
    return document


def read_tensors(path: str | Path, names: Iterable[str] | None = None, *, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors of a safetensors file by name: those of these `names`, without reading the others, or all.

    Raises `UserError` when it is missing, unreadable, damaged or truncated, or lacks one of them.
    """
    from safetensors import safe_open

    with _reading_tensors(path), safe_open(path, framework="pt", device=device) as file:
        return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a safetensors file by name, from its beginning; raises as `read_tensors` does."""
    from safetensors import safe_open

    with _reading_tensors(path), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 -- not a dict


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
        raise UserError(f"{path} is damaged or truncated: {one_line(error)}") from error


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


def _settle(part: Path) -> None:
    """Have all that is in a folder on the disk, with the usual permissions."""
    for file in sorted(part.rglob("*")):
        if file.is_file():
            file.chmod(part.stat().st_mode & 0o666)  # as in atomic_file
        _to_disk(file)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A failure to write as a `UserError`; the Rust of safetensors and tokenizers raises errors of no kind for it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {_reason(error)}") from error
    except UserError:
        raise
    except Exception as error:
        if (number := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        reason = _reason(OSError(int(number[1]), os.strerror(int(number[1]))))
        raise UserError(f"cannot write {path}: {reason}") from error


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run it again"
    return error.strerror or one_line(error)
