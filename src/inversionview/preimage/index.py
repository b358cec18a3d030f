"""The activations of a whole domain on disk, one site a folder, so that later exact queries need no run of the model.

`FOLDER/SITE/index.json` says what they are of. `FOLDER/SITE/T.f32` holds those at position T: one row a distinct prefix
of T + 1 tokens, in the order of `Task.enumerate`, as raw little-endian fp32. Raw, since safetensors are written whole
and these come block by block; the shape is in `index.json`. Where a prefix lies follows from the tokens alone.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import atomic_folder, checked_schema, read_json, restore_folder, write_json
from inversionview.preimage.domain import BLOCK, DomainBlock, ModelDomain, checked_enumerable, needed
from inversionview.probed.model import PrefixActivations, ProbedModel
from inversionview.probed.prefixes import PrefixTree, prefix_tree
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task

SCHEMA = 1
FILE = "index.json"
READ_BLOCK = 65536
"""Inputs that are read together; no model runs over them, so they may leave the processor's caches."""

Progress = Callable[[int, int], None]
"""Told how many inputs are done, and of how many."""


def build_index(
    probed: ProbedModel,
    task: Task,
    site: Site | str,
    folder: str | Path,
    *,
    block: int = BLOCK,
    progress: Progress | None = None,
) -> Path:
    """Write the activations of the whole domain at one site to `folder/SITE`, in place of what was there; its path.

    Takes one run of the model over the domain, of `block` inputs at a time, and 4 bytes a number and distinct prefix:
    634 MB for sites of addition that are 32 wide. It is whole or not there.
    Raises `UserError` for a task that cannot enumerate, a site the model does not have, or when it cannot be written.
    """
    place, domain = probed.site(site), ModelDomain(probed, task, block)
    with atomic_folder(Path(folder) / str(place)) as part:
        counts, domain_checksum = _write(domain, place, part, progress)
        description = {
            "schema": SCHEMA,
            "task": task.name,
            "domain_size": task.size,
            "domain_checksum": domain_checksum,
            "fingerprint": probed.fingerprint_of([place]),
            "convention": probed.convention,
            "site": str(place),
            "d_model": probed.width(place),
            "block": block,
            "positions": {str(t): count for t, count in counts.items()},
            "checksums": {str(t): _checksum(_map(_file(part, t), n, probed.width(place))) for t, n in counts.items()},
        }
        write_json(part / FILE, description)
    return Path(folder) / str(place)


def ensure_index(
    probed: ProbedModel, task: Task, site: Site | str, folder: str | Path, *, progress: Progress | None = None
) -> IndexedDomain:
    """Open the index in `folder`, and build it for `site` first where that is missing; raises as both of these do."""
    place = probed.site(site)
    restore_folder(Path(folder) / str(place))
    if _sites_in(Path(folder), probed):
        domain = IndexedDomain(folder, probed, task)
        if place in domain.sites:
            return domain
    build_index(probed, task, place, folder, progress=progress)
    return IndexedDomain(folder, probed, task)


class IndexedDomain:
    """A `Domain` whose activations were kept by `build_index`; `blocks` never runs the model.

    Opening maps the files into memory. The first use reads each position's file once, against its checksum, and
    enumerates the task; what depends on the task alone is kept then, some 100 bytes an input.
    Raises `UserError` when there is no index, it is damaged, or it is of another model, convention or task.
    """

    def __init__(self, folder: str | Path, probed: ProbedModel, task: Task, block: int = READ_BLOCK) -> None:
        checked_enumerable(task)
        self.folder, self.task, self.block = Path(folder), task, block
        self._kept = {site: _open(self.folder / str(site), probed, task) for site in _sites_in(self.folder, probed)}
        if not self._kept:
            raise UserError(f"there is no index in {folder}: {_how_to_build('SITE', folder)}")

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that can be read, in the model's order."""
        return tuple(self._kept)

    def blocks(self, sites: Sequence[Site], roles: Sequence[str] | None) -> Iterator[DomainBlock]:
        """As `Domain.blocks` says. Raises `UserError` for a site that was not kept, or a file found damaged."""
        kept = {site: self._at(site) for site in sites}
        for part in self._layout[0]:
            wanted = part.needed(self.task, roles)
            at = {site: {t: part.rows_of(site_kept.at(t), t) for t in wanted} for site, site_kept in kept.items()}
            yield DomainBlock(part.start, part.tokens.long(), PrefixActivations(part.tree, at))

    def _at(self, site: Site) -> _Kept:
        if site not in self._kept:
            there_are = ", ".join(map(str, self.sites))
            raise UserError(
                f"the index in {self.folder} has no site {site}, only {there_are}: {_how_to_build(site, self.folder)}"
            )
        if self._kept[site].domain_checksum != self._layout[1]:
            raise UserError(
                f"the index {self.folder / str(site)} was made of other inputs than {self.task.name} has now: "
                f"{_how_to_build(site, self.folder)}"
            )
        return self._kept[site]

    @cached_property
    def _layout(self) -> tuple[list[_Part], int]:
        """The domain, and its checksum."""
        parts, checksum = [], 0
        for part in _parts_of(self.task, self.block):
            checksum = _checksum_of_tokens(part.tokens, checksum)
            parts.append(part.compact(self.task.vocab_size))
        return parts, checksum


class _Part(NamedTuple):
    """Consecutive inputs of the domain, and where their activations lie."""

    start: int
    tokens: Tokens
    tree: PrefixTree
    first: tuple[int, ...]
    """For each position, the row of the first prefix; the others of `tree` follow it."""
    positions: dict[str | None, list[int]]
    """Positions that were needed for a role; None for all eligible ones."""

    def rows_of(self, array: Float[Tensor, "row width"], t: int) -> Float[Tensor, "prefix width"]:
        return array[self.first[t] : self.first[t] + len(self.tree.rows[t])]

    def needed(self, task: Task, roles: Sequence[str] | None) -> list[int]:
        names: Sequence[str | None] = (None,) if roles is None else roles
        for role in names:
            if role not in self.positions:
                self.positions[role] = needed(task, self.tokens.long(), None if role is None else [role])
        return sorted({t for role in names for t in self.positions[role]})

    def compact(self, vocab_size: int) -> _Part:
        tokens = self.tokens.to(torch.uint8 if vocab_size <= 256 else torch.int32)
        tree = PrefixTree(self.tree.owners.int(), tuple(rows.int() for rows in self.tree.rows))
        return self._replace(tokens=tokens, tree=tree)


def _parts_of(task: Task, block: int) -> Iterator[_Part]:
    """The domain in order. A prefix that goes on from one part into the next has one row."""
    start, last = 0, None
    count = torch.zeros(task.max_length, dtype=torch.long)
    for tokens in task.enumerate(block):
        tree = prefix_tree(tokens)
        goes_on = 0 if last is None else 1 - prefix_tree(torch.stack([last, tokens[0]])).owners[:, 1]
        first = count - goes_on
        yield _Part(start, tokens, tree, tuple(first.tolist()), {})
        count = first + torch.tensor([len(rows) for rows in tree.rows])
        start, last = start + len(tokens), tokens[-1]


def _write(domain: ModelDomain, site: Site, folder: Path, progress: Progress | None) -> tuple[dict[int, int], int]:
    """Run the model and write the files; gives the number of prefixes at each position, and the inputs' checksum.

    Where a block has no eligible input at a position, its rows there are left as holes, which read as 0.
    """
    task, row, checksum = domain.task, 4 * domain.probed.width(site), 0
    counts: dict[int, int] = {}
    with ExitStack() as stack:
        files: dict[int, Any] = {}
        for block, part in zip(domain.blocks([site], None), _parts_of(task, domain.block), strict=True):
            checksum = _checksum_of_tokens(block.tokens, checksum)
            for t, z in block.read.at[site].items():
                if t not in files:
                    files[t] = stack.enter_context(_file(folder, t).open("wb"))
                files[t].seek(part.first[t] * row)
                files[t].write(z.float().cpu().contiguous().numpy().data)
            counts = {t: part.first[t] + len(part.tree.rows[t]) for t in sorted(files)}
            if progress is not None:
                progress(block.start + len(block.tokens), task.size or 0)
        for t, count in counts.items():
            files[t].truncate(count * row)
    return counts, checksum


class _Kept:
    """The mapped files of one site, each verified when it is first used."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self._folder = folder
        self._checksums = {int(t): checksum for t, checksum in description["checksums"].items()}
        self.domain_checksum: int = description["domain_checksum"]
        self._arrays = {
            int(t): _map(_checked_size(folder, int(t), count, description["d_model"]), count, description["d_model"])
            for t, count in description["positions"].items()
        }
        self._verified: dict[int, Tensor] = {}

    def at(self, t: int) -> Float[Tensor, "prefix width"]:
        """The activations at a position. Raises `UserError` naming the file when they are not what was written."""
        if t not in self._arrays:
            raise _damaged(self._folder, self._folder / FILE, f"it lacks position {t}")
        if t not in self._verified:
            if _checksum(self._arrays[t]) != self._checksums[t]:
                raise _damaged(self._folder, _file(self._folder, t), "its checksum is wrong")
            self._verified[t] = torch.from_numpy(self._arrays[t])
        return self._verified[t]


def _open(folder: Path, probed: ProbedModel, task: Task) -> _Kept:
    file = folder / FILE
    content = checked_schema(read_json(file, "index of activations"), file, "the description of an index", SCHEMA)
    for name, (_, kind) in _FIELDS.items():
        if not isinstance(content.get(name), kind):
            raise _damaged(folder, file, f"{name} is missing or wrong")
    positions, checksums = content["positions"], content["checksums"]
    whole = all(t.isdecimal() and isinstance(n, int) for table in (positions, checksums) for t, n in table.items())
    if not whole or positions.keys() != checksums.keys():
        raise _damaged(folder, file, "positions and checksums are not what was written")
    expected = {
        "fingerprint": probed.fingerprint_of([folder.name]),
        "convention": probed.convention,
        "task": task.name,
        "domain_size": task.size,
        "site": folder.name,
        "d_model": probed.width(folder.name),
    }
    for name, here in expected.items():
        if content[name] != here:
            raise UserError(
                f"the index {folder} is of {_FIELDS[name][0]} {str(content[name])[:12]}, not {str(here)[:12]}: "
                f"{_how_to_build(folder.name, 'ANOTHER FOLDER')}"
            )
    return _Kept(folder, content)


_FIELDS: dict[str, tuple[str, type]] = {
    "fingerprint": ("the model with fingerprint", str),
    "convention": ("activations in convention", str),
    "task": ("the task", str),
    "domain_size": ("a domain of size", int),
    "site": ("the site", str),
    "d_model": ("activations of width", int),
    "domain_checksum": ("inputs with checksum", int),
    "positions": ("positions", dict),
    "checksums": ("checksums", dict),
}


def _sites_in(folder: Path, probed: ProbedModel) -> list[Site]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    sites = [site for name in names if (site := probed.find_site(name)) is not None]
    return sorted(sites, key=lambda site: probed.sites.index(site) if site in probed.sites else len(probed.sites))


def _file(folder: Path, t: int) -> Path:
    return folder / f"{t}.f32"


def _map(file: Path, count: int, width: int) -> Float[np.ndarray, "prefix width"]:
    assert sys.byteorder == "little", "the files are little-endian, and are read as they are"
    # Copy on write: PyTorch takes no array that cannot be written to.
    return np.memmap(file, dtype=np.float32, mode="c", shape=(count, width))


def _checked_size(folder: Path, t: int, count: int, width: int) -> Path:
    file, size = _file(folder, t), 4 * count * width
    if not file.is_file():
        raise _damaged(folder, file, "it is missing")
    if file.stat().st_size != size:
        raise _damaged(folder, file, f"it has {file.stat().st_size:,} bytes, not {size:,}")
    return file


def _checksum(array: Float[np.ndarray, "prefix width"]) -> int:
    return zlib.crc32(array.data)


def _checksum_of_tokens(tokens: Int[Tensor, "input pos"], before: int) -> int:
    return zlib.crc32(tokens.to(torch.int32).contiguous().numpy().data, before)


def _damaged(folder: Path, file: Path, what: str) -> UserError:
    return UserError(f"{file} is damaged: {what}; {_how_to_build(folder.name, folder.parent)}")


def _how_to_build(site: Site | str, folder: Path | str) -> str:
    return f"build one with build_index(probed, task, {str(site)!r}, {str(folder)!r})"
