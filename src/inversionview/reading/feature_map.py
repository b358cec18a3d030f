"""The map of a model: what every site knows at every named position about every feature, exactly, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversionview.criterion import Metric
from inversionview.errors import UserError
from inversionview.preimage.distance import distances, within_distance
from inversionview.preimage.domain import Domain, DomainBlock, ModelDomain, domain_size
from inversionview.preimage.rounding import HALF, Beginnings
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance
from inversionview.reading.information import base_masses, chosen_features, codes_of, divergence, entropy
from inversionview.reading.log_score import exact_scores
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Feature, Task
from inversionview.tasks.positions import eligible_role


class MapCell(NamedTuple):
    """One site at one named position; the axis query is of the inputs that were read there."""

    site: str
    role: str
    features: tuple[str, ...]
    of: Float[np.ndarray, " feature"]
    """H(F) in bits, over inputs that have the role."""
    size_bits: Float[np.ndarray, " query"]
    """log2 of prior mass of the domain over that of the preimage."""
    bits: Float[np.ndarray, "query feature"]
    divergence: Float[np.ndarray, "query feature"]
    size_se: Float[np.ndarray, " query"] | None = None
    """Standard error of `size_bits`; None where the domain was enumerated, as with the two below."""
    bits_se: Float[np.ndarray, "query feature"] | None = None
    effective: Float[np.ndarray, " query"] | None = None
    """How many members of equal weight those found are worth."""
    scores: Float[np.ndarray, "query feature"] | None = None
    """How well each query's own value is told, in bits; see `log_score`."""
    score_se: Float[np.ndarray, " feature"] | None = None
    """Standard error of the mean score over queries."""
    score_interval: Float[np.ndarray, "feature 2"] | None = None
    """For the mean that draws without end would give; None where the domain was enumerated."""


@torch.no_grad()
def feature_map(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[str],
    queries: Mapping[str, Tokens],
    *,
    epsilon: Mapping[tuple[str, str], float],
    metric: Metric = "euclidean",
    domain: Domain | None = None,
) -> list[MapCell]:
    """What each site knows at each role about every feature, for `queries[role]` `[query, pos]`; rule `same`.

    `epsilon` is by site and role; cells without one are left out. Exact: each query's preimage is counted over the
    whole domain, in one pass. Raises `UserError` for a task that cannot enumerate, a query that lacks its role, or an
    activation of norm 0.
    """
    domain = ModelDomain(probed, task) if domain is None else domain
    places, features = [probed.site(site) for site in sites], chosen_features(task)
    readers = {
        role: _query_readers(probed, task, places, role, tokens, metric=metric) for role, tokens in queries.items()
    }
    counts = {(site, role): _Counts() for site in places for role in queries if (str(site), role) in epsilon}
    for block in domain.blocks(places, tuple(queries)):
        for role, reader in readers.items():
            for t, weights in _prefix_weights(task, block, role, features).items():
                for site in (site for site in places if (site, role) in counts):
                    z = block.read.at[site][t].cpu()
                    inside = within_distance(reader[site], z, epsilon[str(site), role], metric)
                    if probed.dtype in HALF:
                        inside |= _alike(task, block, role, queries[role], t)
                    counts[site, role].add(inside.float() @ weights)
        advance(len(block.tokens))
    own = {role: codes_of(features, rows, eligible_role(task, rows, role)) for role, rows in queries.items()}
    return [
        _cell(task, str(site), role, features, count.total, own=own[role]) for (site, role), count in counts.items()
    ]


def _alike(task: Task, block: DomainBlock, role: str, queries: Tokens, t: int) -> Bool[Tensor, "query prefix"]:
    """Which prefixes are those of the queries up to `t`: in half precision their activations may seem different."""
    begun = Beginnings(queries, eligible_role(task, queries, role))
    prefixes = block.tokens[block.read.tree.rows[t].cpu()]
    return torch.stack([
        begun.take(torch.tensor([i])).shared_by(prefixes) & (begun.positions[i] == t) for i in range(len(queries))
    ])  # fmt: skip


class _Counts:
    """Prior mass of every value of every feature inside each query's preimage, summed over blocks in fp64."""

    total: Float[np.ndarray, "query value"]

    def __init__(self) -> None:
        self.total = np.zeros((0, 0))

    def add(self, masses: Float[Tensor, "query value"]) -> None:
        self.total = masses.double().numpy() + (self.total if self.total.size else 0.0)


def _query_readers(
    probed: ProbedModel, task: Task, sites: Sequence[Site], role: str, tokens: Tokens, *, metric: Metric
) -> dict[Site, Float[Tensor, "query width"]]:
    """The query activations at every site."""
    positions = query_positions(task, role, tokens)
    z_q = {site: z.float().cpu() for site, z in probed.capture(tokens, sites, positions).items()}
    for z in z_q.values():
        distances(z, z, metric)  # an activation without a direction is known before the pass begins
    return z_q


def query_positions(task: Task, role: str, tokens: Tokens) -> Positions:
    """Where the queries have a role. Raises `UserError` for one that lacks it."""
    positions = eligible_role(task, tokens, role)
    if (positions < 0).any():
        raise UserError(f"{task.decode(tokens[positions < 0][0])} has no position {role!r} that could be read")
    return positions


def _prefix_weights(
    task: Task, block: DomainBlock, role: str, features: Sequence[Feature]
) -> dict[int, Float[Tensor, "prefix value"]]:
    """For each position that plays the role: how much prior mass the inputs behind each prefix give to each value.

    The values of all features stand side by side. What is inside at a prefix is then counted with one matrix product,
    for all queries, features and inputs that share it. Masses are in units of an average input's.
    """
    at = eligible_role(task, block.tokens, role)
    there = (at >= 0).nonzero()[:, 0]
    everyone = len(there) == len(at)  # then no copy, which a task would have to read again
    tokens, positions = (block.tokens, at) if everyone else (block.tokens[there], at[there])
    mass = (task.log_prior(tokens).double().exp() * (task.size or 1)).float()
    codes = [feature.compute(tokens, positions) for feature in features]
    width = sum(len(feature.values) for feature in features)
    by_position = {}
    for t in sorted(set(positions.tolist())):
        rows = (positions == t).nonzero()[:, 0]
        prefix = block.read.tree.owners[t].cpu()[there[rows]]
        weights = torch.zeros(len(block.read.tree.rows[t]), width)
        start = 0
        for feature, of_row in zip(features, codes, strict=True):
            weights.view(-1).index_add_(0, prefix * width + start + of_row[rows], mass[rows])
            start += len(feature.values)
        by_position[t] = weights
    return by_position


def _cell(
    task: Task, site: str, role: str, features: Sequence[Feature], counts: Float[np.ndarray, "query value"], *,
    own: Int[np.ndarray, "feature query"],
) -> MapCell:  # fmt: skip
    base = base_masses(task, role)
    ends = np.cumsum([len(feature.values) for feature in features])
    by_feature = np.split(counts, ends[:-1], axis=1)
    of = np.array([float(entropy(base[feature.name])) for feature in features])
    left = np.stack([entropy(mass) for mass in by_feature], axis=1)
    apart = [divergence(mass, base[feature.name]) for feature, mass in zip(features, by_feature, strict=True)]
    scores = [
        exact_scores(mass, codes, base[feature.name])
        for feature, mass, codes in zip(features, by_feature, own, strict=True)
    ]
    inside = by_feature[0].sum(axis=1) / (task.size or 1)
    return MapCell(
        site=site,
        role=role,
        features=tuple(feature.name for feature in features),
        of=of,
        size_bits=np.log2(domain_size(task, role).mass / inside),
        bits=of - left,
        divergence=np.stack(apart, axis=1),
        scores=np.stack(scores, axis=1),
    )
