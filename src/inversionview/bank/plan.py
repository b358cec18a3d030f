"""What a bank will hold, and how much that is, before anything is run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from inversionview.bank.passes import Beginnings, distinct_beginnings, role_places
from inversionview.errors import UserError
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.seeds import seeded
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Split, Task

MOST_ON_DISK = 8 * 10**9
"""Bytes of a bank on disk, where no other bound is given."""
SHARE_OF_MEMORY = 0.5
"""Of the memory that is free, what a bank takes at most, where no other bound is given."""


@dataclass(frozen=True, eq=False)
class BankPlan:
    """A sample of a task's inputs, and the sites and roles at which they are to be read."""

    tokens: Tokens
    """As they were drawn; an input that was drawn twice is there twice, and is run once."""
    begun: Beginnings
    sites: tuple[Site, ...]
    roles: tuple[str, ...]
    seed: int
    split: Split
    row_bytes: int
    """What is kept of one run."""

    @property
    def bytes(self) -> int:
        """What all activations take."""
        return self.row_bytes * len(self.begun.tokens)

    @property
    def words(self) -> str:
        """What it will hold, as one says it."""
        return f"{len(self.tokens):,} inputs, {len(self.sites):,} sites, {' '.join(self.roles)}: {in_words(self.bytes)}"

    def check_size(self, folder: Path | None, most: int | None = None, *, there: int = 0) -> None:
        """Raise `UserError` where it is larger than `most` bytes, or than what is usual or free where it is to lie.

        `there`: how many bytes of it lie there already.
        """
        where, limit = ("of memory", int(SHARE_OF_MEMORY * free_memory()))
        if folder is not None:
            where, limit = ("on disk", MOST_ON_DISK)
        limit = limit if most is None else most
        if folder is not None:
            place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
            limit = min(limit, shutil.disk_usage(place).free + there)
        if self.bytes > limit:
            n = len(self.tokens) * limit // self.bytes
            raise UserError(
                f"the bank would take {in_words(self.bytes)} {where}, and may take {in_words(limit)}: "
                f"{n:,} inputs would fit, or fewer sites or positions"
            )


def free_memory() -> int:
    """Bytes of memory that could be had; where the system does not say, all that there is, or 8 GB."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 * 10**9


def in_words(size: int) -> str:
    """Bytes as one says them."""
    return f"{size / 10**9:.1f} GB" if size >= 10**9 else f"{size / 10**6:.3g} MB"


def plan_bank(
    probed: ProbedModel,
    task: Task,
    *,
    sites: Iterable[Site | str],
    roles: Iterable[str],
    n: int = 4000,
    seed: int = 0,
    split: Split = "all",
) -> BankPlan:
    """Draw the inputs of a bank, `n` from the task's prior, and say what it will hold.

    Raises `UserError` for sites or roles that there are not, a role that no input has, or n < 1.
    """
    if n < 1:
        raise UserError(f"a bank holds at least 1 input, not {n}")
    chosen, named = tuple(dict.fromkeys(map(probed.site, sites))), tuple(dict.fromkeys(roles))
    if not chosen:
        raise UserError("give at least one site for the bank, such as heads")
    tokens = task.sample(n, generator=seeded(seed), split=split)
    places = role_places(task, tokens, named)
    for role, at in zip(named, places.unbind(1), strict=True):
        if not bool((at >= 0).any()):
            raise UserError(f"none of {n:,} inputs of {task.name} has a position {role!r} that may be read")
    coordinates = Coordinates(probed)
    numbers = len(named) * sum(probed.width(coordinates.source(site)) for site in chosen)
    row_bytes = numbers * torch.finfo(probed.model.dtype).bits // 8
    return BankPlan(tokens, distinct_beginnings(tokens, places), chosen, named, seed, split, row_bytes)
