"""Exact preimages: every input of an enumerable domain, run through the probed model and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversionview.criterion import DEFAULT, Criterion, Metric
from inversionview.preimage.distance import distances, pairwise_distances
from inversionview.preimage.domain import (
    Domain,
    DomainBlock,
    ModelDomain,
    checked_enumerable,
    domain_size,
    needed,
    uniform_log_prior,
)
from inversionview.preimage.rounding import HALF, Beginnings
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.texts import Decoded, Repeated
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.results.preimage import Preimage, Query
from inversionview.shapes import OneInput
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role


class Scan(NamedTuple):
    """What one block of the domain is to some of the queries."""

    queries: tuple[int, ...]
    start: int
    tokens: Int[Tensor, "input pos"]
    distances: Float[Tensor, "query input"]
    """At the position that the rule gives; infinite where it allows none."""
    positions: Int[Tensor, "query input"]


def exact_preimages(
    probed: ProbedModel,
    task: Task,
    queries: Sequence[Query],
    *,
    criterion: Criterion,
    activations: Float[Tensor, "query width"] | None = None,
    domain: Domain | None = None,
    into: Float[np.ndarray, "query input"] | None = None,
) -> list[Preimage]:
    """All inputs of the domain within ε of each query, in one pass over the domain; one preimage a query.

    `activations` stand in for the queries' own; `domain` says where the inputs' activations come from, by default from
    running the model. `into` is filled with the distances of all inputs, as `exact_distances` gives them.
    Raises `UserError` for a task that cannot enumerate, an ε that is still to be measured, or a query activation of
    norm 0.
    """
    limits = criterion.limits([query.site for query in queries])
    members: list[list[tuple[Tensor, ...]]] = [[] for _ in queries]
    small = _small(task)
    with stage("scan", task.size):
        for scan in scan_domain(probed, task, queries, criterion=criterion, activations=activations, domain=domain):
            bound = torch.tensor([limits[q] for q in scan.queries], dtype=torch.float64)[:, None]
            if into is not None:
                into[list(scan.queries), scan.start : scan.start + len(scan.tokens)] = scan.distances.numpy()
            which, rows = (scan.distances.double() <= bound).nonzero(as_tuple=True)
            sizes = torch.bincount(which, minlength=len(scan.queries)).tolist()
            for q, i, part in zip(scan.queries, range(len(sizes)), torch.split(rows, sizes), strict=True):
                if len(part):
                    members[q].append(
                        (scan.tokens[part].to(small), scan.distances[i, part], scan.positions[i, part].to(small))
                    )
    return [
        _preimage(task, query, parts, criterion, limit)
        for query, parts, limit in zip(queries, members, limits, strict=True)
    ]


def exact_distances(
    probed: ProbedModel,
    task: Task,
    queries: Sequence[Query],
    *,
    criterion: Criterion = DEFAULT,
    activations: Float[Tensor, "query width"] | None = None,
    domain: Domain | None = None,
) -> Float[np.ndarray, "query input"]:
    """Distances of all inputs of the domain, in the order of `Task.enumerate`; infinite where the rule allows none.

    4 bytes an input and query; ε does not matter. Raises as `exact_preimages` does.
    """
    checked_enumerable(task)
    table = np.full((len(queries), task.size or 0), np.inf, dtype=np.float32)
    for scan in scan_domain(probed, task, queries, criterion=criterion, activations=activations, domain=domain):
        table[list(scan.queries), scan.start : scan.start + len(scan.tokens)] = scan.distances.numpy()
    return table


@torch.no_grad()
def scan_domain(
    probed: ProbedModel,
    task: Task,
    queries: Sequence[Query],
    *,
    criterion: Criterion,
    activations: Float[Tensor, "query width"] | None = None,
    domain: Domain | None = None,
) -> Iterator[Scan]:
    """Compare every input of the domain with every query, block by block, on the CPU; raises as `exact_preimages`."""
    rule = criterion.position_rule
    domain = ModelDomain(probed, task) if domain is None else domain
    if not queries:
        return
    half = activations is None and probed.dtype in HALF
    z_q = query_activations(probed, task, queries) if activations is None else activations
    distances(z_q, z_q, criterion.metric)  # a query activation without a direction is known before the pass begins
    groups: dict[tuple[Site, str | None], list[int]] = {}
    for i, query in enumerate(queries):
        groups.setdefault((Site.named(query.site), query.role if rule == "same" else None), []).append(i)
    sites = tuple(dict.fromkeys(site for site, _ in groups))
    roles = tuple(dict.fromkeys(query.role for query in queries)) if rule == "same" else None
    for block in domain.blocks(sites, roles):
        places = _by_role(task, block, roles)
        for (site, role), members in groups.items():
            known = [queries[i] for i in members] if half else []
            nearest = _nearest(block, site, places[role], z_q[members], criterion.metric, known)
            yield Scan(tuple(members), block.start, block.tokens, *nearest)
        advance(len(block.tokens))


class _Place(NamedTuple):
    """The inputs of a block that may match at one position."""

    position: int
    rows: Int[Tensor, " row"]
    prefixes: Int[Tensor, " row"]
    """Where the activation of each row lies among those at this position."""


def _by_role(task: Task, block: DomainBlock, roles: Sequence[str] | None) -> dict[str | None, list[_Place]]:
    """Where each role, or (None) any eligible position, is in a block; positions in order."""
    owners = block.read.tree.owners.cpu()

    def place(t: int, mask: Bool[Tensor, " input"]) -> _Place:
        rows = mask.nonzero()[:, 0]
        return _Place(t, rows, owners[t][rows])

    if roles is None:
        eligible = task.eligible(block.tokens)
        return {None: [place(t, eligible[:, t]) for t in needed(task, block.tokens, None)]}
    places: dict[str | None, list[_Place]] = {}
    for role in roles:
        at = eligible_role(task, block.tokens, role)
        places[role] = [place(t, at == t) for t in sorted(set(at.tolist()) - {-1})]
    return places


def _nearest(
    block: DomainBlock, site: Site, places: Sequence[_Place], z_q: Tensor, metric: Metric, known: Sequence[Query]
) -> tuple[Tensor, Tensor]:
    """Least distance of each input of a block from each query, and where; ties go to the lowest position.

    `known`: the queries, where the tokens decide which inputs have their activation.
    """
    activations, n = block.read.at[site], len(block.tokens)
    nearest = torch.full((len(z_q), n), torch.inf)
    at = torch.full(nearest.shape, -1)
    for t, rows, prefixes in places:
        width = activations[t].shape[1]
        here = pairwise_distances(z_q[:, :width], activations[t].cpu(), metric)[:, prefixes]
        for i, query in enumerate(known):
            if query.position == t:
                here[i, Beginnings.of([query]).shared_by(block.tokens[rows])] = 0
        columns = slice(None) if len(rows) == n else rows  # a slice is not copied
        nearer = here < nearest[:, columns]
        nearest[:, columns] = torch.where(nearer, here, nearest[:, columns])
        at[:, columns] = torch.where(nearer, t, at[:, columns])
    return nearest, at


def _preimage(
    task: Task, query: Query, parts: list[tuple[Tensor, ...]], criterion: Criterion, epsilon: float
) -> Preimage:
    small = _small(task)
    empty = (torch.empty(0, task.max_length, dtype=small), torch.empty(0), torch.empty(0, dtype=small))
    tokens, distance, positions = (torch.cat(column) for column in zip(*(parts or [empty]), strict=True))
    # Stable, and the domain is in the order of token ids: so ties are, too.
    order = distance.argsort(stable=True)
    rows, n = tokens[order], len(order)
    uniform = uniform_log_prior(task)
    log_prior = np.broadcast_to(uniform, n) if uniform is not None else task.log_prior(rows.long()).double().numpy()
    inside = domain_size(task, query.role if criterion.position_rule == "same" else None)
    return Preimage(
        query=query,
        epsilon=epsilon,
        metric=criterion.metric,
        position_rule=criterion.position_rule,
        seed=0,
        domain_size=inside.inputs,
        domain_mass=inside.mass,
        inputs=Decoded(rows.numpy(), task.decode),
        tokens=rows.numpy(),
        token_strings=Decoded(rows.numpy(), partial(_strings, task)),
        positions=positions[order].numpy(),
        distances=distance[order].double().numpy(),
        in_domain=np.broadcast_to(True, n),
        sources=Repeated({}, n),
        log_prob=np.broadcast_to(np.nan, n),
        log_prior=log_prior,
        token_distances=None,
        exact=True,
    )


def _small(task: Task) -> torch.dtype:
    """Half a domain may be inside, of each of many queries: 8 bytes a token would be too many."""
    return torch.int16 if max(task.vocab_size, task.max_length) < 2**15 else torch.int32


def _strings(task: Task, row: OneInput) -> tuple[str, ...]:
    return tuple(task.token_strings(row))
