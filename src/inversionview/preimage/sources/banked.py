"""Proposals from a bank: the inputs of a sample of the prior whose activations are nearest to the one that is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.bank.bank import Bank
from inversionview.criterion import Criterion, Metric
from inversionview.errors import UserError
from inversionview.preimage.distance import distances
from inversionview.preimage.sources.proposals import AlreadyRun, Draws, PriorDensity
from inversionview.results.preimage import Query
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task

_BLOCK_VALUES = 2**22
"""Numbers of vectors that are compared at once: as many as stay in a processor's cache."""


class Nearest(NamedTuple):
    """Inputs of a bank, nearest first; ties in the order of the bank."""

    rows: Int[Tensor, " near"]
    distances: Float[Tensor, " near"]


def nearest(
    bank: Bank,
    site: Site,
    role: str,
    z_q: Float[Tensor, " width"],
    n: int,
    *,
    metric: Metric = "euclidean",
    but: Sequence[int] = (),
) -> Nearest:
    """The `n` distinct inputs of a bank with the nearest activations at a site and role, or all that have the role.

    Every vector is compared, and the distances are those of the activations themselves. `but`: the tokens of an input
    that is left out, as that of the query is where shares are counted. Raises `UserError` for what the bank does not
    hold, or a query activation of norm 0.
    """
    vectors, query = bank.run_vectors(site, role), bank.coordinates(site, z_q.float().cpu())
    block = max(1, _BLOCK_VALUES // vectors.shape[1])
    apart = torch.cat([distances(some, query, metric) for some in torch.split(vectors, block)])[bank.run]
    own = torch.tensor([*but][: bank.tokens.shape[1]], dtype=torch.long)
    left_out = apart.isnan() | (bank.positions(role) < 0) | ((bank.tokens[:, : len(own)] == own).all(dim=1) & bool(but))
    rows = apart.masked_fill(left_out, torch.inf).argsort(stable=True)[: int((~left_out).sum())]
    first = np.unique(bank.distinct[rows].numpy(), return_index=True)[1]
    rows = rows[torch.from_numpy(np.sort(first))[:n]]
    if site.kind != "head":
        return Nearest(rows, apart[rows])
    # Of a vector of one's own, what lies outside of the head's dimensions is as far from all, and counts.
    again = distances(bank.activations(site, role, rows), z_q.float().cpu(), metric)
    order = again.argsort(stable=True)
    return Nearest(rows[order], again[order])


@dataclass(frozen=True, eq=False)
class BankSource:
    """The `n` distinct inputs of a bank that are nearest to the activation at its role, nearest first."""

    bank: Bank
    n: int
    """Inputs a query."""
    metric: Metric = "euclidean"
    name: str = "bank"

    @property
    def density(self) -> None:
        """There is none: what is proposed is not drawn."""

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """The nearest inputs of every query. Raises `UserError` where too few of the bank have its role."""
        proposed = torch.empty(len(queries), self.n, dtype=torch.long)
        for i, query in enumerate(queries):
            site = Site.named(query.site)
            z_q = activations[i, : self.bank.width(site)]
            near = nearest(self.bank, site, query.role, z_q, self.n, metric=self.metric).rows
            if len(near) < self.n:
                raise UserError(
                    f"n is {self.n}, but the bank has {len(near)} distinct inputs with the position {query.role}: "
                    "ask for fewer, or make a larger bank"
                )
            proposed[i] = near
        return Draws(self.bank.tokens[proposed], torch.full(proposed.shape, torch.nan))


@dataclass(frozen=True, eq=False)
class BankSample:
    """The inputs of a bank that are nearest, as part of its draws from the prior: the others lie farther, and outside.

    `bank_sample` makes one, of so many inputs that all of the bank within ε are among them.
    """

    task: Task
    rows: Int[Tensor, "query candidate"]
    bank: Bank
    drawn: int
    """Inputs of the bank that were looked at."""
    name: str = "bank"

    @property
    def n(self) -> int:
        """Proposals a query."""
        return self.rows.shape[1]

    @property
    def density(self) -> PriorDensity:
        """The prior, of which a bank is a sample."""
        return PriorDensity()

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """The nearest inputs of every query; nothing is random."""
        return Draws(self.bank.tokens[self.rows], torch.full(self.rows.shape, torch.nan))

    def already_run(
        self, index: int, query: Query, z_q: Float[Tensor, " width"], tokens: Tokens, *, metric: Metric
    ) -> AlreadyRun:
        """Distances of the candidates of a query that the bank holds, at its role, from their activations there.

        In half precision there are none: what an activation is depends on what is run beside it.
        """
        site, rows = Site.named(query.site), self.rows[index]
        numbers = {tuple(row): i for row, i in zip(self.bank.tokens[rows].tolist(), rows.tolist(), strict=True)}
        found = torch.tensor([numbers.get(tuple(row), -1) for row in tokens.tolist()], dtype=torch.long)
        positions = torch.where(found < 0, -1, self.bank.positions(query.role)[found.clamp_min(0)])
        z = self.bank.activations(site, query.role, found.clamp_min(0))
        held = (positions >= 0) & (z.dtype == torch.float32)
        everywhere = torch.full(tokens.shape, torch.nan)
        there = held.nonzero()[:, 0]
        everywhere[there, positions[there]] = distances(z[there], z_q[: self.bank.width(site)], metric)
        return AlreadyRun(held, everywhere)


SHOWN = 30
"""Inputs that are proposed at least, so that something is seen where few lie within ε."""
_SLACK = 1e-4
"""By so much more than ε coordinates may set an input apart that lies within it."""


def bank_sample(
    bank: Bank, task: Task, queries: Sequence[Query], activations: Float[Tensor, "query width"], *,
    criterion: Criterion, most: int,
) -> BankSample:  # fmt: skip
    """All inputs of a bank that lie within ε of each query at its role, and the next nearest.

    Where more than `most` lie there, of a first part of the bank alone. Raises `UserError` for what the bank does not
    hold, an ε that is still to be measured, or a query activation of norm 0.
    """
    apart = torch.stack([
        all_distances(bank, query, z_q, criterion.metric) for query, z_q in zip(queries, activations, strict=True)
    ])  # fmt: skip
    limits = torch.tensor(criterion.limits([query.site for query in queries]))[:, None]
    inside = (apart <= limits * (1 + _SLACK) + _SLACK).cumsum(dim=1)
    drawn = max(1, int((inside <= max(1, most)).all(dim=0).sum()))
    n = min(drawn, max(SHOWN, int(inside[:, drawn - 1].max())))
    return BankSample(task, apart[:, :drawn].argsort(dim=1, stable=True)[:, :n], bank, drawn)


def all_distances(bank: Bank, query: Query, z_q: Float[Tensor, " width"], metric: Metric) -> Float[Tensor, " input"]:
    """How far each input of a bank is from an activation at its site and role; infinite where it lacks the role."""
    site = Site.named(query.site)
    vectors, z = bank.vectors(site, query.role), bank.coordinates(site, z_q[: bank.width(site)].float().cpu())
    block = max(1, _BLOCK_VALUES // vectors.shape[1])
    apart = torch.cat([distances(some, z, metric) for some in torch.split(vectors, block)])
    return apart.nan_to_num(nan=torch.inf)
