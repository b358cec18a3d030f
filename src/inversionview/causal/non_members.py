"""Non-members of a preimage, drawn from the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from inversionview.errors import UserError
from inversionview.preimage.distance import distances
from inversionview.preimage.rounding import HALF, Beginnings
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.verification import Best, best, eligible_distances
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Preimage
from inversionview.shapes import InputMask, PerInput, Positions, Tokens
from inversionview.tasks.base import Feature, Task
from inversionview.tasks.outputs import captured
from inversionview.tasks.positions import eligible_role

_DRAWS, _RUNS = 50, 5
"""Inputs that are drawn, and run, at most for each that is wanted; most may be members, or not share a feature."""


class Pool(NamedTuple):
    """Inputs from the prior in the order in which they were drawn, repeats included."""

    tokens: Tokens
    """Non-members."""
    positions: Positions
    distances: PerInput
    members: Tokens
    """Members that were drawn on the way."""
    member_positions: Positions


def draw_pool(
    probed: ProbedModel, task: Task, preimage: Preimage, held: Sequence[Feature], *, n: int, generator: Generator
) -> Pool:
    """Draw inputs that share the features `held` with the query until `n` are non-members, fewer where these are rare.

    Raises `UserError` where none is found.
    """
    query, pools = preimage.query, []
    (z_q,) = query_activations(probed, task, [query])
    drawn = outside = run = 0
    while outside < n and drawn < _DRAWS * n and run < _RUNS * n:
        tokens = task.sample(n, generator=generator)
        drawn += n
        if preimage.position_rule == "same":
            positions = eligible_role(task, tokens, query.role)
            tokens = tokens[(positions >= 0) & shares(held, preimage, tokens, positions.clamp_min(0))]
        run += len(tokens)
        near = _nearest(probed, task, preimage, tokens, z_q)
        comparable = near.positions >= 0
        if preimage.position_rule == "any":
            comparable &= shares(held, preimage, tokens, near.positions.clamp_min(0))
        tokens, positions, distance = tokens[comparable], near.positions[comparable], near.distances[comparable]
        inside = distance.double() <= preimage.epsilon
        pools.append(Pool(tokens[~inside], positions[~inside], distance[~inside], tokens[inside], positions[inside]))
        outside += int((~inside).sum())
    if not outside:
        sharing = f" that share {' and '.join(feature.name for feature in held)} with it" if held else ""
        raise UserError(
            f"of {drawn:,} inputs from the prior none{sharing} is a non-member at ε = {preimage.epsilon:g}, so there "
            "is nothing to compare members with: use a smaller epsilon, or hold less equal"
        )
    columns = [torch.cat(column) for column in zip(*pools, strict=True)]
    return Pool(*(column[:n] for column in columns[:3]), *columns[3:])


def shares(features: Sequence[Feature], preimage: Preimage, tokens: Tokens, positions: Positions) -> InputMask:
    """Which inputs have, at these positions, the query's value of every feature."""
    shared = torch.ones(len(tokens), dtype=torch.bool)
    own, at = torch.tensor(preimage.query.tokens)[None], torch.tensor([preimage.query.position])
    for feature in features:
        shared &= feature.compute(tokens, positions) == feature.compute(own, at)
    return shared


def _nearest(probed: ProbedModel, task: Task, preimage: Preimage, tokens: Tokens, z_q: Tensor) -> Best:
    """Where the position rule looks at each input, and the distance there."""
    query = preimage.query
    if preimage.position_rule == "any":
        z = z_q.expand(len(tokens), -1)
        of = Beginnings.of([query])
        return best(eligible_distances(probed, task, tokens, query.site, z, metric=preimage.metric, of=of))
    positions = eligible_role(task, tokens, query.role)
    z = captured(probed, query.site, tokens, positions)
    apart = distances(z, z_q.to(z), preimage.metric)
    if probed.dtype in HALF:
        apart = apart.masked_fill(Beginnings.of([query]).shared_by(tokens) & (positions == query.position), 0.0)
    return Best(positions, apart)
