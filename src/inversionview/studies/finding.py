"""Where a study lies: in the package, in a folder, or on the hub, from which it is fetched. Needs no torch."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from inversionview.errors import UserError
from inversionview.files import restore_folder
from inversionview.hub import TIMEOUT, HubName, HubUnreachableError, asking, study_name
from inversionview.studies import description
from inversionview.studies.description import DECODER, EXPLANATIONS, FILE, MAP, PROBED, TASK
from inversionview.studies.recipes import DECODER_RECIPES, options_of

FOLDERS = [f"{folder}/*" for folder in (PROBED, DECODER, TASK)]
FETCHED = [FILE, MAP, EXPLANATIONS, "README.md", "LICENSE*", *FOLDERS]
NEVER = [f"*.{kind}" for kind in ("py", "bin", "pt", "pth", "pkl", "pickle", "ckpt", "h5", "msgpack", "onnx")]
"""Code, and weights in formats that are not read: whoever pushed them, they do not come here."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_log = logging.getLogger(__name__)


def is_study(name_or_path: str | Path) -> bool:
    """Whether a study comes with the package by this name, lies in this folder, or may be on the hub."""
    if str(name_or_path) in description.bundled_studies() or (Path(name_or_path).expanduser() / FILE).is_file():
        return True
    return isinstance(name_or_path, str) and not Path(name_or_path).exists() and study_name(name_or_path) is not None


def find_study(name_or_path: str | Path, revision: str | None = None) -> Path:
    """The folder of a bundled study, of one on disk, or of one on the hub (`user/name`), fetched if it is not here.

    `revision`: of the hub. Raises `UserError` that lists what there is, and as `fetched_study` does.
    """
    name, bundled = str(name_or_path), description.bundled_studies()
    path = bundled[name] if isinstance(name_or_path, str) and name in bundled else Path(name_or_path).expanduser()
    restore_folder(path)
    there_are = f"the bundled studies are: {', '.join(bundled) or 'none'}"
    if path.exists() and revision is not None:
        raise UserError(f"{name} is here, and only studies of the hub have revisions: leave out revision {revision!r}")
    if (path / FILE).is_file():
        return path
    if path.is_dir():
        raise UserError(f"the folder {path} is not a study: it has no {FILE}; {there_are}")
    if isinstance(name_or_path, str) and (hub := study_name(name, revision)) is not None:
        return fetched_study(hub)
    if name in DECODER_RECIPES and (options := options_of(DECODER_RECIPES[name])):
        train = f"inversionview train {name} {options} --out FOLDER"
        raise UserError(f"{name} is a recipe: make a study by it, {train}, and give that folder; {there_are}")
    raise UserError(f"there is no study {name!r}: give a study's folder, or user/name on the hub; {there_are}")


def fetched_study(name: HubName) -> Path:
    """The folder of a study on the hub, fetched where it is not here yet.

    A commit that is here is read without asking the hub; of a branch or a tag the hub is asked for the newest, and
    where it cannot be reached the local copy is read, which is logged. Raises `UserError` where there is no such
    study, and `HubUnreachableError` where there is no local copy either.
    """
    if name.revision is not None and _COMMIT.fullmatch(name.revision) and (local := _local_copy(name)) is not None:
        return local
    try:
        return _newest(name)
    except HubUnreachableError:
        local = _local_copy(name)
        if local is None:
            raise
        _log.warning("the hub cannot be reached: study %s is read from the local copy of commit %s", name, local.name)
        return local


def cached_studies() -> dict[str, Path]:
    """The folders of the studies of the hub that are here, by the names by which they can be opened without it."""
    return dict(_cached())


def is_cached(folder: Path) -> bool:
    """Whether a folder is a revision in the hub's cache."""
    return folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")


def _newest(name: HubName) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    with asking(name, "study"):
        info = HfApi().model_info(name.repo, revision=name.revision, timeout=TIMEOUT)
        if FILE not in {sibling.rfilename for sibling in info.siblings or ()}:
            raise UserError(f"{name} on the hub is no study: it has no {FILE}")
        return Path(snapshot_download(name.repo, revision=name.revision, allow_patterns=FETCHED, ignore_patterns=NEVER))


def _local_copy(name: HubName) -> Path | None:
    """The local copy, all of it; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name.repo, revision=name.revision, allow_patterns=FETCHED, ignore_patterns=NEVER, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(folder) if (Path(folder) / FILE).is_file() else None


def _cached() -> Iterator[tuple[str, Path]]:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return
    for repo in sorted(found.repos, key=lambda repo: repo.repo_id):
        for revision in sorted(repo.revisions, key=lambda revision: -revision.last_modified):
            if (revision.snapshot_path / FILE).is_file():
                refs = sorted(revision.refs, key=lambda ref: ref != "main")
                label = refs[0] if refs else revision.commit_hash
                yield str(HubName(repo.repo_id, None if label == "main" else label)), revision.snapshot_path
