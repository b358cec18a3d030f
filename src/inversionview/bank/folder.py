"""A bank on disk: an index, its inputs, and shards of some runs each, in which every site and role is a tensor.

A shard is written whole or not at all, and one that is there is not run again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.bank.bank import Bank
from inversionview.bank.belonging import belonging, check_belongs
from inversionview.bank.passes import Beginnings, read_all
from inversionview.bank.plan import BankPlan, in_words
from inversionview.errors import UserError
from inversionview.files import checked_schema, claimed, read_json, read_shapes, read_tensors, write_json, write_tensors
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.training.processes import Processes

INDEX, INPUTS = "bank.json", "inputs.safetensors"
SCHEMA = 1
SHARD_BYTES = 2**26
"""Of one shard: what a killed run loses at most."""


@dataclass(frozen=True)
class FolderStore:
    """Shards in a folder, of which only what is asked for is read."""

    folder: Path
    runs: int
    rows: int
    """Runs of a shard; the last one has what is left."""

    def shard(self, index: int) -> Path:
        """The file of one shard."""
        return self.folder / f"shard-{index:05d}.safetensors"

    @property
    def shards(self) -> range:
        """Their numbers."""
        return range(-(-self.runs // self.rows))

    def rows_of(self, index: int) -> slice:
        """The runs that a shard holds."""
        return slice(index * self.rows, min(self.runs, (index + 1) * self.rows))

    def values(self, source: Site, role: str) -> Float[Tensor, "run width"]:
        """What was captured of every run."""
        name = _key(source, role)
        return torch.cat([read_tensors(self.shard(index), [name])[name] for index in self.shards])

    def check(self, index: int, widths: dict[str, int]) -> None:
        """Raise `UserError` that names the file where a shard is not there, damaged or not what it should be."""
        rows = self.rows_of(index)
        wanted = {name: (rows.stop - rows.start, width) for name, width in widths.items()}
        if read_shapes(self.shard(index)) != wanted:
            raise UserError(f"{self.shard(index)} is damaged: it does not hold what the bank's {INDEX} says")

    def is_there(self, index: int, widths: dict[str, int]) -> bool:
        """Whether a shard is there, and whole."""
        try:
            self.check(index, widths)
        except UserError:
            return False
        return True


def fill_folder(probed: ProbedModel, task: Task, plan: BankPlan, folder: Path, most: int | None) -> Bank:
    """Write the bank of a plan; what is there of it already is not run again.

    Under `torchrun` or `accelerate launch` each process fills its own shards. Raises `UserError` where the folder holds
    something else, another run is writing it, it would be too large, or the disk is full.
    """
    processes = Processes(None, probed.device)
    store = FolderStore(folder, len(plan.begun.tokens), max(1, SHARD_BYTES // plan.row_bytes))
    widths = _widths(probed, plan)
    described = _description(probed, task, plan, store)
    with ExitStack() as held, stage("bank", store.runs):

        def begin() -> None:
            if processes.is_first:
                held.enter_context(claimed(folder, resume=(folder / INDEX).is_file()))
                plan.check_size(folder, most, there=sum(file.stat().st_size for file in folder.glob("shard-*")))
                _begin(folder, described, plan)

        def fill() -> None:
            for index in store.shards[processes.rank :: processes.world]:
                rows = store.rows_of(index)
                if store.is_there(index, widths):
                    advance(rows.stop - rows.start)
                    continue
                read = read_all(probed, plan.begun.tokens[rows], plan.begun.places[rows], plan.sites, plan.roles)
                _write(store, index, {_key(*key): values for key, values in read.items()})

        def finish() -> None:
            if processes.is_first:
                write_json(folder / INDEX, {**described, "finished": True})

        _together(processes, begin)
        tokens, begun = _inputs(folder, store.runs, len(plan.roles))  # the same for all, whatever each has drawn
        plan = replace(plan, tokens=tokens, begun=begun)
        _together(processes, fill)
        _together(processes, finish)
    return Bank(probed, plan, store)


def load_bank(folder: str | Path, probed: ProbedModel, task: Task) -> Bank:
    """The bank in a folder. Nothing is read of it but its inputs until it is asked for.

    Raises `UserError`, which names the file, for one that is not there, not finished, damaged or truncated, or of
    another model, tokenizer or task.
    """
    folder = Path(folder)
    index = checked_schema(read_json(folder / INDEX, "index of a bank"), folder / INDEX, "the index of a bank", SCHEMA)
    try:
        sites = tuple(Site.named(name) for name in index["sites"])
        unknown = [site for site in sites if site.name is not None and probed.find_site(site) is None]
        if unknown:
            raise UserError(f"the bank {folder} holds {unknown[0]}, a view that this model has not: add it first")
        roles, seed, split = tuple(index["roles"]), int(index["seed"]), index["split"]
        store = FolderStore(folder, int(index["runs"]), int(index["runs_in_shard"]))
        row_bytes, finished = int(index["row_bytes"]), index["finished"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / INDEX} is damaged: it lacks what a bank's index says ({error})") from error
    known = tuple(site for site in sites if probed.find_site(site) is not None)
    check_belongs(index, belonging(probed, task, known), str(folder))
    plan = BankPlan(*_inputs(folder, store.runs, len(roles)), sites, roles, seed, split, row_bytes)
    widths = _widths(probed, plan)
    if not finished:
        done = sum(store.is_there(shard, widths) for shard in store.shards)
        raise UserError(
            f"the bank {folder} is not finished, {done} of {len(store.shards)} shards are: make it again there, and "
            "it goes on"
        )
    for shard in store.shards:
        store.check(shard, widths)
    return Bank(probed, plan, store)


def _inputs(folder: Path, runs: int, roles: int) -> tuple[Tensor, Beginnings]:
    read = read_tensors(folder / INPUTS)
    try:
        tokens, begun = read["tokens"], Beginnings(read["beginnings"], read["places"], read["run"])
    except KeyError as error:
        raise UserError(f"{folder / INPUTS} is damaged: it has no {error}") from error
    if begun.places.shape != (runs, roles) or len(begun.tokens) != runs or begun.run.shape != tokens.shape[:1]:
        raise UserError(f"{folder / INPUTS} is damaged: it does not hold what the bank's {INDEX} says")
    return tokens, begun


def _begin(folder: Path, described: dict[str, Any], plan: BankPlan) -> None:
    """Write what the shards are shards of, or see that it is this that is there."""
    if not (folder / INDEX).is_file():
        inputs = {"tokens": plan.tokens, "run": plan.begun.run}
        write_tensors(folder / INPUTS, {**inputs, "beginnings": plan.begun.tokens, "places": plan.begun.places})
        write_json(folder / INDEX, described)
        return
    kept = checked_schema(read_json(folder / INDEX, "index of a bank"), folder / INDEX, "the index of a bank", SCHEMA)
    check_belongs(kept, described, str(folder))
    differs = [name for name in described if name not in ("finished", "version") and kept.get(name) != described[name]]
    if differs:
        chosen = [name for name in differs if name in ("sites", "roles", "seed", "n", "split")]
        raise UserError(
            f"the folder {folder} holds another bank, with other {', '.join(chosen or differs)}: give another folder"
        )
    if not torch.equal(_inputs(folder, len(plan.begun.tokens), len(plan.roles))[0], plan.tokens):
        raise UserError(f"the folder {folder} holds a bank of other inputs: give another folder")


def _write(store: FolderStore, index: int, tensors: dict[str, Tensor]) -> None:
    try:
        write_tensors(store.shard(index), tensors)
    except UserError as error:
        done = sum(store.shard(other).is_file() for other in store.shards)
        raise UserError(
            f"{error}; {done} of {len(store.shards)} shards are kept, and the same command goes on from there"
        ) from error


def _together(processes: Processes, step: Callable[[], None]) -> None:
    """Do a step in all processes. Raises `UserError` in all of them where it did in one."""
    failure = None
    try:
        step()
    except UserError as error:
        failure = error
    [failed] = processes.highest(int(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise UserError("another process of this run could not go on; it says why")


def _description(probed: ProbedModel, task: Task, plan: BankPlan, store: FolderStore) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": version("inversionview"),
        "finished": False,
        **belonging(probed, task, plan.sites),
        "seed": plan.seed,
        "n": len(plan.tokens),
        "split": plan.split,
        "roles": list(plan.roles),
        "runs": store.runs,
        "runs_in_shard": store.rows,
        "row_bytes": plan.row_bytes,
        "size": in_words(plan.bytes),
        "sites": list(map(str, plan.sites)),
    }


def _widths(probed: ProbedModel, plan: BankPlan) -> dict[str, int]:
    """How wide each tensor of a shard is."""
    sources = map(Coordinates(probed).source, plan.sites)
    return {_key(source, role): probed.width(source) for source in sources for role in plan.roles}


def _key(source: Site, role: str) -> str:
    return f"{source}@{role}"
