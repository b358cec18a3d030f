"""Where a model lies: in a folder, in one GGUF file, or on the Hugging Face hub, of which a local copy will do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inversionview.errors import UserError
from inversionview.hub import TIMEOUT, HubName, asking

ADAPTER = "adapter_config.json"
GGUF = ".gguf"
INDEX = "model.safetensors.index.json"
_TOKENIZER_FILES = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template*",
)  # fmt: skip
_FILES = (
    "config.json", "generation_config.json", "model*.safetensors", INDEX, ADAPTER, "adapter_model.safetensors",
    *_TOKENIZER_FILES,
)  # fmt: skip
_HUB_NAME = re.compile(r"(?P<repo>[\w-][\w.-]*(/[\w-][\w.-]*)?)(/(?P<file>[^\\]+\.gguf))?", re.ASCII)


class _Name(NamedTuple):
    """Of a repository, and of the file in it that is meant, where one is."""

    repo: str
    file: str | None


def place_of(name_or_path: str | Path, revision: str | None = None) -> Path:
    """The folder of a model or of an adapter, or its GGUF file; fetched from the hub unless there is a local copy.

    `revision`: a branch, a tag or a commit of the hub. Raises UserError when there is no such place.
    """
    path = Path(name_or_path).expanduser()
    hub = None if isinstance(name_or_path, Path) else _HUB_NAME.fullmatch(str(name_or_path))
    if path.exists() and revision is not None and not _is_hub_copy(path):
        raise UserError(f"{path} is here, and only models of the hub have revisions: leave out revision {revision!r}")
    if path.is_dir():
        return _gguf_or_folder(_snapshot(path, revision) if _is_hub_copy(path) else path)
    if path.exists():
        if path.suffix != GGUF:
            raise UserError(
                f"{path} is a file: give the folder that holds config.json and model.safetensors, or a .gguf file"
            )
        return path
    if hub is None or (hub["file"] is None and path.suffix == GGUF):
        what = "file" if path.suffix == GGUF else "folder"
        raise UserError(f"there is no {what} {path}, and that is no name of a model on the hub either")
    return _from_hub(_Name(hub["repo"], hub["file"]), revision)


def has_weights(folder: Path) -> bool:
    """Whether weights lie in a folder in the form in which transformers keeps them."""
    return any(folder.glob("model*.safetensors")) or (folder / INDEX).exists()


def _gguf_or_folder(folder: Path) -> Path:
    """The GGUF file in a folder that holds one and no other weights; else the folder."""
    files = [file.name for file in folder.glob(f"*{GGUF}")]
    if not files or has_weights(folder) or (folder / ADAPTER).exists():
        return folder
    return folder / _the_one(files, str(folder))


def _the_one(files: Iterable[str], where: str) -> str:
    """The model's own file; those of images' towers, which go with some models, are not it."""
    models = sorted(file for file in files if not Path(file).name.startswith("mmproj"))
    if len(models) != 1:
        shown = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
        raise UserError(f"{where} holds {len(models)} GGUF files: say which, {where}/FILE, of {shown or 'none'}")
    return models[0]


def _is_hub_copy(folder: Path) -> bool:
    """Whether this is the folder in which the hub's client keeps all revisions of a model."""
    return (folder / "snapshots").is_dir() and (folder / "refs").is_dir()


def _snapshot(folder: Path, revision: str | None) -> Path:
    ref = folder / "refs" / (revision or "main")
    commit = ref.read_text().strip() if ref.is_file() else (revision or "")
    found = sorted((folder / "snapshots").glob(f"{commit}*")) if commit else []
    if len(found) != 1:
        raise UserError(f"{folder} holds no copy of revision {revision or 'main'}")
    return found[0]


def _from_hub(name: _Name, revision: str | None) -> Path:
    local = _local_copy(name, revision)
    return local if local is not None else _fetched(name, revision)


def _local_copy(name: _Name, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name.repo, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    if name.file is not None:
        return folder / name.file if (folder / name.file).exists() else None
    place = _gguf_or_folder(folder)
    whole = (
        place != folder or (folder / ADAPTER).exists() or ((folder / "config.json").exists() and has_weights(folder))
    )
    return place if whole else None


def _fetched(name: _Name, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    with asking(HubName(name.repo, revision), "model"):
        info = HfApi().model_info(name.repo, revision=revision, timeout=TIMEOUT)
        file, wanted = _wanted(name, info)
        folder = Path(snapshot_download(name.repo, revision=revision, allow_patterns=list(wanted)))
        return folder / file if file else folder


def _wanted(name: _Name, info: Any) -> tuple[str | None, Sequence[str]]:
    """The GGUF file, where the model is one, and which files are to be fetched."""
    there = [sibling.rfilename for sibling in getattr(info, "siblings", None) or ()]
    if name.file is not None:
        if there and name.file not in there:
            raise UserError(f"the model {name.repo} on the hub has no file {name.file}")
        return name.file, (name.file,)
    files = [file for file in there if file.endswith(GGUF)]
    if files and not any(file.endswith(".safetensors") for file in there):
        file = _the_one(files, name.repo)
        return file, (file,)
    return None, _FILES
