"""Which inputs match an activation, and where: by running them through the probed model, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversionview.criterion import Metric
from inversionview.preimage.distance import distances
from inversionview.preimage.rounding import HALF, Beginnings, as_one
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance
from inversionview.results.preimage import Query
from inversionview.shapes import Activations, InputMask, PerInput, PerPosition, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task

_BLOCK_VALUES = 2**22
"""Activation values that are captured at once: 16 MiB in fp32, and a few times that inside the forward."""
_BLOCK_INPUTS = 4096


class Best(NamedTuple):
    """The nearest allowed position of each input."""

    positions: Int[Tensor, " batch"]
    """-1 where no position is allowed."""
    distances: Float[Tensor, " batch"]
    """NaN where no position is allowed."""


@torch.no_grad()
def eligible_distances(
    probed: ProbedModel,
    task: Task,
    tokens: Tokens,
    site: Site | str,
    z_q: Activations,
    *,
    metric: Metric,
    of: Beginnings | None = None,
) -> PerPosition:
    """Distance of each input's activation at every eligible position from that input's own `z_q`; NaN elsewhere.

    `z_q` may be wider than the site, whose numbers come first in it. `of`: what the `z_q` are of. Where a model in half
    precision would set apart what begins alike, the tokens decide. Runs in blocks, so that memory does not grow with
    the batch; the result is on the CPU.
    """
    name = str(site)
    found = distances_at_sites(probed, task, tokens, {name: z_q}, metric=metric, of=None if of is None else {name: of})
    return found[name]


@torch.no_grad()
def distances_at_sites(
    probed: ProbedModel,
    task: Task,
    tokens: Tokens,
    z_q: Mapping[str, Activations],
    *,
    metric: Metric,
    of: Mapping[str, Beginnings] | None = None,
) -> dict[str, PerPosition]:
    """As `eligible_distances` at several sites of one run, each with query activations of its own."""
    sites = {name: probed.site(name) for name in z_q}
    block = max(1, min(_BLOCK_INPUTS, _BLOCK_VALUES // (tokens.shape[1] * probed.d_model * len(sites))))
    if not len(tokens):
        return {name: torch.empty(tokens.shape) for name in sites}
    by_block: dict[str, list[Tensor]] = {name: [] for name in sites}
    for start in range(0, len(tokens), block):
        rows = tokens[start : start + block]
        run = probed.capture(rows, list(dict.fromkeys(sites.values())))
        for name, site in sites.items():
            z, wanted = run[site], z_q[name][start : start + block]
            by_block[name].append(distances(z, wanted[:, None, : z.shape[-1]].to(z.device), metric).cpu())
        advance(len(rows))
    eligible = task.eligible(tokens)
    found = {}
    for name, blocks in by_block.items():
        everywhere = torch.cat(blocks)
        if probed.dtype in HALF:
            everywhere = as_one(everywhere, tokens, z_q[name])
            if of is not None:
                same = of[name].shared_by(tokens)
                everywhere[same, of[name].positions.expand(len(tokens))[same]] = 0
        found[name] = everywhere.masked_fill(~eligible, torch.nan)
    return found


def rows_by_site(queries: Sequence[Query]) -> dict[Site, Int[Tensor, " query"]]:
    """Which queries read each site, in order."""
    sites = [Site.named(query.site) for query in queries]
    return {site: torch.tensor([i for i, other in enumerate(sites) if other == site]) for site in dict.fromkeys(sites)}


def best(everywhere: PerPosition) -> Best:
    """The position of least distance (ties: the lowest index) among those that are not NaN: rule `any`."""
    least, positions = everywhere.nan_to_num(nan=torch.inf).min(dim=1).values, _first_least(everywhere)
    nowhere = everywhere.isnan().all(dim=1)
    return Best(positions.masked_fill(nowhere, -1), least.masked_fill(nowhere, torch.nan))


def at_role(everywhere: PerPosition, positions: Positions) -> Best:
    """The distance at one position of each input, -1 for none: rule `same`."""
    distance = everywhere.gather(1, positions.clamp_min(0)[:, None])[:, 0]
    return Best(positions, distance.masked_fill(positions < 0, torch.nan))


def _first_least(everywhere: PerPosition) -> Positions:
    return everywhere.nan_to_num(nan=torch.inf).argmin(dim=1)  # unlike min's, argmin's index is always the first


def within(nearest: Best, in_domain: InputMask, epsilon: float | PerInput) -> Bool[Tensor, " batch"]:
    """Which inputs are members: in the domain, and at most `epsilon` away, compared in fp64."""
    return in_domain & (nearest.distances.double() <= epsilon)
