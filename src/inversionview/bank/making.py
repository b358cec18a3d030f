"""From a plan to a bank: one pass, of which everything wanted is kept."""

from __future__ import annotations

from pathlib import Path

from inversionview.bank.bank import Bank, MemoryStore
from inversionview.bank.folder import fill_folder
from inversionview.bank.passes import read_all
from inversionview.bank.plan import BankPlan
from inversionview.probed.model import ProbedModel
from inversionview.progress import stage
from inversionview.tasks.base import Task


def make_bank(
    probed: ProbedModel, task: Task, plan: BankPlan, folder: str | Path | None = None, *, most: int | None = None
) -> Bank:
    """Run the inputs of a plan and keep what was read of them, in memory or in a folder.

    In a folder what is there of the same bank is not run again, and processes that were launched together share the
    work; see `bank.folder.fill_folder`, and for what else raises `UserError`. It does where the bank would be larger
    than `most` bytes; without it, than half of the free memory, or than 8 GB or what is free on disk.
    """
    if folder is not None:
        return fill_folder(probed, task, plan, Path(folder), most)
    plan.check_size(None, most)
    with stage("bank", len(plan.begun.tokens)):
        values = read_all(probed, plan.begun.tokens, plan.begun.places, plan.sites, plan.roles)
    return Bank(probed, plan, MemoryStore(values))
