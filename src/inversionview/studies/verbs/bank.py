"""The bank of a study: one pass over a sample of its inputs that keeps sites at positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from inversionview.bank.bank import Bank
from inversionview.bank.making import make_bank
from inversionview.bank.plan import BankPlan, plan_bank
from inversionview.errors import UserError
from inversionview.results.bank import BankSummary
from inversionview.seeds import seeded
from inversionview.studies.parts import Parts, checked_sites
from inversionview.studies.settings import BankSettings
from inversionview.tasks.positions import check_role, every_role

ALL = "all"
"""In place of positions: every one that may be read."""
_TRIED = 1000
"""Inputs that tell which ones there are."""


def plan_for(parts: Parts, at: Sequence[str | int], settings: BankSettings) -> BankPlan:
    """What the bank will hold, which is known before anything is run; see `Study.bank`."""
    if settings.most is not None and not settings.most > 0:
        raise UserError(f"the most that a bank may take is a number of GB above 0, not {settings.most:g}")
    if tuple(at) == (ALL,):
        at = every_role(parts.task, parts.task.sample(_TRIED, generator=seeded(settings.seed), split=settings.split))
    for role in at:
        check_role(parts.task, str(role))
    return plan_bank(
        parts.probed,
        parts.task,
        sites=parts.sites if settings.sites is None else checked_sites(parts, settings.sites),
        roles=[str(role) for role in at],
        n=settings.n,
        seed=settings.seed,
        split=settings.split,
    )


def make_for(parts: Parts, planned: BankPlan, settings: BankSettings, folder: Path | None) -> tuple[Bank, BankSummary]:
    """The bank of a plan, in memory or in a folder, and what it took."""
    start = perf_counter()
    most = None if settings.most is None else int(settings.most * 10**9)
    bank = make_bank(parts.probed, parts.task, planned, folder, most=most)
    return bank, BankSummary(
        study=parts.name,
        folder=None if folder is None else str(folder),
        inputs=len(planned.tokens),
        runs=len(planned.begun.tokens),
        sites=tuple(map(str, planned.sites)),
        ats=planned.roles,
        split=planned.split,
        seed=planned.seed,
        bytes=planned.bytes,
        seconds=perf_counter() - start,
    )
