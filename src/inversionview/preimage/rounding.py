"""Half precision: how far one input comes out from itself, and what makes equal inputs equal nevertheless.

In bf16 and fp16 the order in which a matrix product adds up shows in the last digits, layers make them larger, and the
order changes with the length of a batch (on a GPU with its size as well). So an activation is known up to a distance,
which is measured here. Whether two inputs begin alike is known from their tokens, and then nothing is measured at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.criterion import Metric
from inversionview.errors import UserError
from inversionview.preimage.distance import distances
from inversionview.preimage.epsilon.curve import SAME_ACTIVATION
from inversionview.probed.model import ProbedModel
from inversionview.probed.prefixes import prefix_tree
from inversionview.results.preimage import Query
from inversionview.shapes import Activations, InputMask, PerPosition, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import draw_positions

HALF = (torch.bfloat16, torch.float16)
INPUTS, ALONE = 32, 8
"""Inputs by which the floor of a site is measured: on some processors few of them show any. And how many of these are
run alone, too, which costs most.
"""
_ROUNDS = 100
"""Batches that are drawn for a role which few inputs have."""


class Beginnings(NamedTuple):
    """What activations are of: some inputs up to a position."""

    tokens: Int[Tensor, "query query_pos"]
    positions: Int[Tensor, " query"]
    """-1 behind a vector."""

    @classmethod
    def of(cls, queries: Sequence[Query]) -> Beginnings:
        """Those of the queries."""
        rows = [torch.tensor(query.tokens, dtype=torch.long) for query in queries]
        wide = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        return cls(wide, torch.tensor([query.position for query in queries]))

    def take(self, rows: Int[Tensor, " row"]) -> Beginnings:
        """Some of them, in any order."""
        return Beginnings(self.tokens[rows], self.positions[rows])

    def shared_by(self, tokens: Tokens) -> InputMask:
        """Which inputs begin as theirs (or the only one) does, and so have its activation at its position."""
        width = min(tokens.shape[1], self.tokens.shape[1])
        behind = torch.arange(width) > self.positions[:, None]
        alike: Tensor = ((tokens[:, :width].cpu() == self.tokens[:, :width].cpu()) | behind).all(dim=1)
        return alike & (self.positions >= 0) & (self.positions < width)


def as_one(everywhere: PerPosition, tokens: Tokens, z_q: Activations) -> PerPosition:
    """One distance for what begins alike: neighbours among `tokens` that have one query activation take the first's."""
    query = torch.zeros(len(tokens), 1, dtype=torch.long)
    query[1:, 0] = (z_q[1:] != z_q[:-1]).any(dim=1).cumsum(0)
    tree = prefix_tree(torch.cat([query, tokens.cpu()], dim=1))
    columns = [
        column[rows][owners] for column, rows, owners in zip(everywhere.T, tree.rows[1:], tree.owners[1:], strict=True)
    ]
    return torch.stack(columns, dim=1)


@torch.no_grad()
def same_input_floor(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[Site | str],
    *,
    metric: Metric = "euclidean",
    role: str | None = None,
    n: int = INPUTS,
    seed: int = 0,
) -> dict[str, float]:
    """By short site name, the largest distance between activations of one input that was run in different company.

    `n` inputs from the prior, at `role` or else at random eligible positions: in a batch of whole inputs, padded, after
    shared beginnings, and `ALONE` of them each alone and no further than needed. Raises `UserError` for n < 1, or where
    no input has the role.
    """
    if n < 1:
        raise UserError(f"n must be at least 1, such as {INPUTS}, not {n}")
    parsed = tuple(dict.fromkeys(probed.site(site) for site in sites))
    tokens, positions = _inputs(task, n, role, torch.Generator().manual_seed(seed))
    rows, at = torch.arange(len(tokens)), sorted(set(positions.tolist()))
    alone = [probed.capture(tokens[i : i + 1], parsed, positions[i : i + 1]) for i in range(min(ALONE, len(tokens)))]
    whole = probed.capture(tokens, parsed)
    wide = torch.nn.functional.pad(tokens, (0, max(0, min(8, probed.max_length - tokens.shape[1]))), value=task.pad)
    padded = probed.capture(wide, parsed)
    order = torch.unique(tokens, dim=0, return_inverse=True)
    shared = probed.capture_prefixes(order[0], parsed, at)
    floors = {}
    for site in parsed:
        runs = [whole[site][rows, positions], padded[site][rows, positions]]
        owners = shared.tree.owners[positions, order[1]]
        runs.append(torch.stack([shared.at[site][t][i] for t, i in zip(positions.tolist(), owners, strict=True)]))
        apart = _furthest(torch.stack(runs).float().cpu(), metric)
        few = [torch.cat([one[site] for one in alone]), *(run[: len(alone)] for run in runs)]
        floors[str(site)] = max(apart, _furthest(torch.stack(few).float().cpu(), metric))
    return floors


def _furthest(made: Float[Tensor, "run row width"], metric: Metric) -> float:
    """The largest distance between two runs of one input."""
    made = made[:, (made.norm(dim=-1) > 0).all(dim=0)]  # no distance from what is 0
    apart = [distances(made, one.expand_as(made), metric).amax() for one in made] if made.shape[1] else []
    return float(max(apart, default=torch.tensor(0.0)))


def _inputs(task: Task, n: int, role: str | None, generator: torch.Generator) -> tuple[Tokens, Positions]:
    if role is None:
        tokens = task.sample(n, generator=generator)
        return tokens, draw_positions(task, tokens, generator)
    for _ in range(_ROUNDS):
        tokens = task.sample(16 * n, generator=generator)
        positions = task.position_of(tokens, role)
        has = (positions >= 0).nonzero()[:n, 0]
        if len(has):
            return tokens[has], positions[has]
    raise UserError(f"none of {_ROUNDS * 16 * n} inputs of {task.name} has a position {role!r} that may be read")


def same_activation(
    probed: ProbedModel, task: Task, sites: Sequence[Site | str], *, metric: Metric, role: str | None = None
) -> dict[str, float]:
    """By short site name, the distance below which two activations are the same as far as the model's type tells.

    In fp32 that of rounding, without a run; in half precision the floor that `same_input_floor` measures.
    """
    names = [str(probed.site(site)) for site in sites]
    least = SAME_ACTIVATION[metric]
    if probed.dtype not in HALF:
        return dict.fromkeys(names, least)
    return {
        name: max(least, floor)
        for name, floor in same_input_floor(probed, task, sites, metric=metric, role=role).items()
    }


def cell_floors(
    probed: ProbedModel, task: Task, cells: Iterable[tuple[Site | str, str]], *, metric: Metric
) -> dict[tuple[str, str], float]:
    """The floor of each site and role in half precision; empty in wider types. A role of no name is any position."""
    if probed.dtype not in HALF:
        return {}
    by_role: dict[str, list[Site | str]] = {}
    for site, role in cells:
        by_role.setdefault(role, []).append(site)
    return {
        (name, role): floor
        for role, sites in by_role.items()
        for name, floor in same_input_floor(probed, task, sites, metric=metric, role=role or None).items()
    }
