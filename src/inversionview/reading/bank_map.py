"""The map of a model from a bank: what every site knows, by which inputs of a sample are near each query.

The bank is a sample of the prior, so each of its inputs counts the same. Its own inputs serve as queries: then a query,
and the same input drawn again, is no member. What is known of each feature is a score of the query's own value, see
`log_score`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversionview.bank.bank import Bank
from inversionview.criterion import Metric
from inversionview.preimage.distance import distances, within_distance
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.reading.feature_map import MapCell
from inversionview.reading.information import chosen_features, codes_of
from inversionview.reading.knowledge import Asked, Pairs, Sizes, cell_of
from inversionview.shapes import OneInput, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Feature, Task


class BankQueries(NamedTuple):
    """What is read at one role."""

    tokens: Tokens
    positions: Positions
    vectors: Callable[[Site, Tensor], Tensor]
    """`[query, coord]` of a site, which is given the bank's `[input, coord]`."""


def bank_rows(bank: Bank, role: str, rows: Int[Tensor, " query"]) -> BankQueries:
    """Inputs of the bank as queries."""
    return BankQueries(bank.tokens[rows], bank.positions(role)[rows], lambda site, vectors: vectors[rows])


def own_input(bank: Bank, probed: ProbedModel, tokens: OneInput, position: int, sites: Sequence[Site]) -> BankQueries:
    """An input of one's own as the query; it is run."""
    read = probed.capture(tokens[None], sites, position)
    at = torch.tensor([position])
    return BankQueries(tokens[None], at, lambda site, vectors: bank.coordinates(site, read[site].float().cpu()))


@torch.no_grad()
def bank_map(
    bank: Bank,
    task: Task,
    sites: Sequence[Site],
    queries: Mapping[str, BankQueries],
    *,
    epsilon: Mapping[tuple[str, str], float],
    metric: Metric = "euclidean",
) -> list[MapCell]:
    """What each site knows at each role about every feature; rule `same`.

    `epsilon` is by site and role; cells without one are left out. Raises `UserError` for sites or roles that the bank
    does not hold, or an activation of norm 0.
    """
    features = chosen_features(task)
    by_role = {role: _AtRole.of(bank, role, asked, features, task.pad) for role, asked in queries.items()}
    places = [(site, role) for site in sites for role in queries if (str(site), role) in epsilon]
    cells = []
    with stage("map", len(places)):
        for site, role in places:
            vectors = bank.vectors(site, role)
            z_q = queries[role].vectors(site, vectors)
            distances(z_q, z_q, metric)  # an activation without a direction
            at = by_role[role]
            inside = within_distance(z_q, vectors[at.rows], epsilon[str(site), role], metric)
            pairs = at.pairs(inside.numpy())
            cells.append(cell_of((str(site), role), features, at.base, at.asked, pairs, sizes=at.sizes(pairs)))
            advance(1)
    return cells


class _AtRole(NamedTuple):
    """The inputs of a bank that have a role, and the queries."""

    rows: Int[Tensor, " row"]
    inputs: Int[np.ndarray, " row"]
    """A number for each distinct input."""
    codes: Int[np.ndarray, "feature row"]
    """Numbers of the values that occur."""
    base: list[Float[np.ndarray, " value"]]
    asked: Asked

    @classmethod
    def of(cls, bank: Bank, role: str, queries: BankQueries, features: Sequence[Feature], pad: int) -> _AtRole:
        positions = bank.positions(role)
        rows = (positions >= 0).nonzero()[:, 0]
        short = bank.tokens.shape[1] - queries.tokens.shape[1]
        everyone = torch.cat([bank.tokens[rows], torch.nn.functional.pad(queries.tokens, (0, short), value=pad)])
        number = torch.unique(everyone, dim=0, return_inverse=True)[1].numpy()
        codes = codes_of(features, everyone, torch.cat([positions[rows], queries.positions]))
        codes = np.stack([np.unique(row, return_inverse=True)[1].reshape(-1) for row in codes])
        n = len(rows)
        base = [np.bincount(row[:n], minlength=int(row.max()) + 1).astype(np.float64) for row in codes]
        again = np.bincount(number[:n], minlength=int(number.max()) + 1)[number[n:]]
        others = np.maximum(n - again, 1)
        priors = [(masses[own] - again) / others for masses, own in zip(base, codes[:, n:], strict=True)]
        return cls(rows, number[:n], codes[:, :n], base, Asked(number[n:], codes[:, n:], np.stack(priors)))

    def pairs(self, inside: Bool[np.ndarray, "query row"]) -> Pairs:
        """Which inputs lie in which preimage, but for the queries themselves."""
        query, row = (inside & (self.inputs != self.asked.inputs[:, None])).nonzero()
        return Pairs(query, self.inputs[row], self.codes[:, row], np.ones(len(row)))

    def sizes(self, pairs: Pairs) -> Sizes:
        """How much of the bank each preimage is; the query, which lies in its own, counts on both sides."""
        members = 1 + np.bincount(pairs.query, minlength=len(self.asked.inputs))
        others = (self.inputs != self.asked.inputs[:, None]).sum(axis=1)
        return Sizes(np.log2((1 + others) / members), 1 / (np.sqrt(members) * np.log(2)))
