"""GGUF files, which hold quantised weights: turned once into an ordinary folder, which is kept for the next time.

`transformers` turns the weights back into floating point and rebuilds configuration and tokenizer, which takes half a
minute for a model of 100M weights, nearly all of it for the lists of tokens. What comes of it is named by the file's
SHA-256, so that it serves the same file wherever it lies.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from inversionview.errors import UserError, one_line
from inversionview.files import atomic_folder, cache_folder, claimed, read_json, write_json
from inversionview.imports import import_models
from inversionview.probed.architectures import architecture_of
from inversionview.probed.quiet import quietly

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MADE = "gguf.json"
_PATIENCE = 1800.0
"""Seconds to wait for another process that is converting the same file."""
_log = logging.getLogger(__name__)


def converted(file: Path, dtype: torch.dtype | None, *, readable: bool) -> Path:
    """The folder with a GGUF file's model and tokenizer in safetensors, made now unless it is there.

    `dtype`: of the numbers, by default float32, which loses nothing. Raises UserError for what is no GGUF file, or not
    a whole one, or of a model that transformers does not read, or unless it need not be `readable` that we do not.
    """
    _check_head(file)
    numbers = dtype or torch.float32
    digest = _sha256(file)
    of_file = cache_folder("gguf") / digest[:32]
    entry = of_file / str(numbers).removeprefix("torch.")
    with claimed(of_file, resume=True, wait=_PATIENCE):  # two that ask for it at the same time make it once
        if not _is_whole(entry, digest):
            with atomic_folder(entry) as part:
                _convert(file, part, numbers, readable=readable)
                sizes = {made.name: made.stat().st_size for made in sorted(part.iterdir())}
                by = {name: version(name) for name in ("transformers", "gguf")}
                write_json(part / _MADE, {"schema": 1, "sha256": digest, "file": file.name, "by": by, "files": sizes})
    return entry


def _is_whole(entry: Path, digest: str) -> bool:
    """Whether an entry is of this file, and as it was written."""
    try:
        made = read_json(entry / _MADE, "note of a converted model")
        sizes = {name: (entry / name).stat().st_size for name in made["files"]}
    except (UserError, OSError, KeyError, TypeError):
        return False
    return bool(made.get("sha256") == digest and sizes == made["files"])


def _convert(file: Path, folder: Path, numbers: torch.dtype, *, readable: bool) -> None:
    if find_spec("gguf") is None:
        raise UserError(f"{file.name} needs the package gguf: pip install gguf")
    import_models()
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name, "local_files_only": True}
    try:
        config = quietly(AutoConfig.from_pretrained, file.parent, **where)
        if readable:
            architecture_of(config.model_type)
        _log.warning("converting %s, once: this takes a minute or so, and the next time nothing", file.name)
        model = quietly(AutoModelForCausalLM.from_pretrained, file.parent, config=config, dtype=numbers, **where)
        tokenizer = quietly(AutoTokenizer.from_pretrained, file.parent, config=config, **where)
    except UserError:
        raise
    except Exception as error:  # whatever the readers of the format come across
        raise UserError(_unread(file, error)) from error
    with as_plain(model):
        quietly(model.save_pretrained, folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def as_plain(model: PreTrainedModel) -> Iterator[None]:
    """Take off a model what says that it came from GGUF and keeps it from being saved, as long as this block lasts."""
    marked = getattr(model, "hf_quantizer", None) is not None and all(p.is_floating_point() for p in model.parameters())
    holders = (
        (model.config, ("quantization_config",)),
        (model, ("hf_quantizer", "is_quantized", "quantization_method")),
    )
    taken = [
        (of, name, of.__dict__.pop(name)) for of, names in holders for name in names if marked and name in of.__dict__
    ]
    try:
        yield
    finally:
        for of, name, value in taken:
            of.__dict__[name] = value


def _check_head(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UserError(f"{file} is no GGUF file: it does not begin as one")
    if "-of-" in file.stem and file.stem.rpartition("-of-")[2].isdigit():
        raise UserError(f"{file} is one of several parts, which transformers does not join: llama-gguf-split --merge")


def _architecture(file: Path) -> str:
    """What the file says that it is of, as far as one can tell."""
    with file.open("rb") as stream:
        head = stream.read(4096)
    key = head.find(b"general.architecture")
    start = key + len(b"general.architecture") + 4  # after the type of the value, a string
    if key < 0 or start + 8 > len(head):
        return "unknown"
    (length,) = struct.unpack_from("<Q", head, start)
    return head[start + 8 : start + 8 + min(length, 64)].decode(errors="replace")


def _unread(file: Path, error: Exception) -> str:
    if "not supported" in str(error):
        return f"{file.name} holds a model of architecture {_architecture(file)!r}, which transformers does not read"
    return f"{file} is damaged or truncated, or not as transformers reads it: {one_line(error)}"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
