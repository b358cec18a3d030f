"""The banks of a study: made when they are first needed, and kept while its model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from inversionview.bank.bank import Bank
from inversionview.bank.folder import load_bank
from inversionview.bank.making import make_bank
from inversionview.bank.plan import plan_bank
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.parts import Parts
from inversionview.tasks.base import Task

INPUTS = 4000
"""Of a bank, where no other number is asked for."""
_KEPT = 3
"""Banks in memory for one model; the one that was not used for longest goes."""

_made: WeakKeyDictionary[ProbedModel, list[tuple[Task, Bank]]] = WeakKeyDictionary()


def bank_for(
    parts: Parts,
    sites: Sequence[Site],
    roles: Sequence[str],
    *,
    n: int | None = None,
    seed: int = 0,
    folder: Path | None = None,
) -> Bank:
    """A bank of the study that holds these sites and roles: that in a folder, one made before, or a new one of `n`.

    Raises `UserError` as `load_bank`, `plan_bank` and `make_bank` do, and where that in the folder holds less.
    """
    n = INPUTS if n is None else n
    if folder is not None:
        return _checked(load_bank(folder, parts.probed, parts.task), sites, roles, folder)
    kept = _made.setdefault(parts.probed, [])
    for i, (task, bank) in enumerate(kept):
        same = task is parts.task and (len(bank.tokens), bank.seed, bank.split) == (n, seed, "all")
        if same and set(sites) <= set(bank.sites) and set(roles) <= set(bank.roles):
            kept.append(kept.pop(i))
            return bank
    bank = make_bank(
        parts.probed, parts.task, plan_bank(parts.probed, parts.task, sites=sites, roles=roles, n=n, seed=seed)
    )
    kept.append((parts.task, bank))
    del kept[:-_KEPT]
    return bank


def kept_banks(parts: Parts) -> list[Bank]:
    """The banks of a study that are in memory."""
    return [bank for task, bank in _made.get(parts.probed, []) if task is parts.task] if parts.loaded else []


def _checked(bank: Bank, sites: Sequence[Site], roles: Sequence[str], folder: Path) -> Bank:
    lacking = [str(site) for site in sites if site not in bank.sites] or [
        role for role in roles if role not in bank.roles
    ]
    if lacking:
        raise UserError(f"the bank {folder} does not hold {lacking[0]}: make one that does, or leave it out")
    return bank
