"""From a plan to a bank: one pass, of which everything wanted is kept."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from inversionview.bank.bank import Bank, MemoryStore
from inversionview.bank.passes import Places, read_places
from inversionview.bank.plan import BankPlan
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task


def make_bank(
    probed: ProbedModel, task: Task, plan: BankPlan, folder: str | Path | None = None, *, most: int | None = None
) -> Bank:
    """Run the inputs of a plan and keep what was read of them, in memory or in a folder.

    Raises `UserError` where it would be larger than `most` bytes; without it, than half of the free memory, or than
    8 GB or what is free on disk.
    """
    plan.check_size(None if folder is None else Path(folder), most)
    with stage("bank", len(plan.begun.tokens)):
        values = run_all(probed, plan.begun.tokens, plan.begun.places, plan)
    return Bank(probed, plan, MemoryStore(values))


def run_all(probed: ProbedModel, tokens: Tokens, places: Places, plan: BankPlan) -> dict[tuple[Site, str], Tensor]:
    """What a plan keeps of these inputs, by what is captured and role: `[run, width]`."""
    coordinates = Coordinates(probed)
    sources = tuple(dict.fromkeys(map(coordinates.source, plan.sites)))
    kept = {
        (source, role): torch.empty(len(tokens), probed.width(source), dtype=probed.model.dtype)
        for source in sources
        for role in plan.roles
    }
    for read in read_places(probed, tokens, places, sources):
        for source, values in read.values.items():
            for place, role in enumerate(plan.roles):
                kept[source, role][read.rows] = values[:, place]
        advance(len(read.rows))
    return kept
