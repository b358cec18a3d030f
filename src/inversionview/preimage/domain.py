"""The whole domain of a task, block by block: its inputs, and their activations with each distinct prefix once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch

from inversionview.errors import UserError
from inversionview.probed.model import PrefixActivations, ProbedModel
from inversionview.progress import advance, stage
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role

BLOCK = 8192
"""Inputs that are run together; more would leave the processor's caches."""


class DomainBlock(NamedTuple):
    """Consecutive inputs of the domain and their activations."""

    start: int
    """Index of the first, in the order of `Task.enumerate`."""
    tokens: Tokens
    read: PrefixActivations


class Domain(Protocol):
    """Where the activations of all inputs come from: the model, or what was kept of an earlier run."""

    def blocks(self, sites: Sequence[Site], roles: Sequence[str] | None) -> Iterator[DomainBlock]:
        """Every input once, with its activations where it has one of `roles`; None for all eligible positions."""
        ...


class ModelDomain:
    """Runs the probed model over the domain. Raises `UserError` for a task that cannot enumerate."""

    def __init__(self, probed: ProbedModel, task: Task, block: int = BLOCK) -> None:
        checked_enumerable(task)
        self.probed, self.task, self.block = probed, task, block

    @torch.no_grad()
    def blocks(self, sites: Sequence[Site], roles: Sequence[str] | None) -> Iterator[DomainBlock]:
        """As `Domain.blocks` says; a pass goes no deeper and no further to the right than it must."""
        start = 0
        for tokens in self.task.enumerate(self.block):
            yield DomainBlock(
                start, tokens, self.probed.capture_prefixes(tokens, sites, needed(self.task, tokens, roles))
            )
            start += len(tokens)


def needed(task: Task, tokens: Tokens, roles: Sequence[str] | None) -> list[int]:
    """The positions at which some of `tokens` has one of `roles`; None for all eligible positions."""
    if roles is None:
        return [t for t, some in enumerate(task.eligible(tokens).any(dim=0).tolist()) if some]
    positions = {t for role in roles for t in set(eligible_role(task, tokens, role).tolist())}
    return sorted(positions - {-1})


class DomainSize(NamedTuple):
    """How many inputs of the domain have a role, and their share of the prior."""

    inputs: int | None
    """None where the domain cannot be enumerated."""
    mass: float


def domain_size(task: Task, role: str | None) -> DomainSize:
    """What a preimage is a part of: under rule `same` the inputs that have `role`, under `any` (None) all inputs.

    Counted where the task can enumerate; elsewhere the mass is the share among 20,000 draws from the prior.
    """
    if role is None:
        return DomainSize(task.size, 1.0)
    sizes = _role_sizes.setdefault(task, {})
    if role not in sizes:
        sizes[role] = _role_size(task, role)
    return sizes[role]


_COUNTING = "counting the inputs of the domain"
_role_sizes: WeakKeyDictionary[Task, dict[str, DomainSize]] = WeakKeyDictionary()


def _role_size(task: Task, role: str) -> DomainSize:
    if task.size is None:
        drawn = task.sample(20_000, generator=torch.Generator().manual_seed(0))
        return DomainSize(None, (eligible_role(task, drawn, role) >= 0).double().mean().item())
    known = _uniform.get(task, _declared_uniform(task))
    count, mass, blocks = 0, 0.0, []
    with stage(_COUNTING, task.size):
        for tokens in task.enumerate():
            has = eligible_role(task, tokens, role) >= 0
            count += int(has.sum())
            if known is None:  # not known to be so, or known not to be
                log_prior = task.log_prior(tokens)
                blocks.append(log_prior.aminmax())
                mass += log_prior[has].double().exp().sum().item()
            advance(len(tokens))
    uniform = _uniform.setdefault(task, _one_of(blocks) if known is None else known)
    return DomainSize(count, mass if uniform is None else count * math.exp(uniform))


_uniform: WeakKeyDictionary[Task, float | None] = WeakKeyDictionary()


def uniform_log_prior(task: Task) -> float | None:
    """log p(x) where all inputs of an enumerable domain have the same; None where they differ."""
    if task not in _uniform and (declared := _declared_uniform(task)) is not None:
        _uniform[task] = declared
    if task not in _uniform:
        blocks = []
        with stage(_COUNTING, task.size):
            for tokens in task.enumerate():
                blocks.append(task.log_prior(tokens).aminmax())
                advance(len(tokens))
        _uniform[task] = _one_of(blocks)
    return _uniform[task]


def _declared_uniform(task: Task) -> float | None:
    """The same where the task has the uniform prior that `Task` gives, without a look at any input."""
    if task.size is None or type(task).log_prior is not Task.log_prior:
        return None
    return float(torch.tensor(-math.log(task.size), dtype=torch.float32))


def _one_of(blocks: Sequence[Any]) -> float | None:
    """The one value of all blocks, of which the least and largest are given; None where they differ or are none."""
    least = min((float(block.min) for block in blocks), default=math.nan)
    return least if all(float(end) == least for block in blocks for end in block) else None


def checked_enumerable(task: Task) -> None:
    """Raise `UserError` for a task whose domain cannot be enumerated."""
    if task.size is None:
        raise UserError(
            f"the inputs of {task.name} cannot be enumerated, so nothing about them is exact: read a sample instead "
            "(without exact), whose size and completeness are estimated"
        )
