"""How far an activation is from the query activation."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inversionview.criterion import Metric
from inversionview.errors import UserError


def distances(
    z: Float[Tensor, "*any width"], z_q: Float[Tensor, "*any_or_one width"], metric: Metric = "euclidean"
) -> Float[Tensor, "*any"]:
    """Distances in fp32 of activations from the query activations, which are broadcast to them.

    `euclidean`: ‖z − z_q‖ / ‖z_q‖, so 0.1 is a tenth of the query activation's length; not symmetric. `cosine`:
    1 − cos(z, z_q), from 0 to 2, and 1 for a zero `z`, which has no direction.
    Raises `UserError` for a query activation that is zero or not finite. Source: InversionView, section 2.
    """
    z, z_q = z.float(), z_q.float()
    length = _checked_length(z_q)
    if metric == "euclidean":
        relative: Tensor = (z - z_q).norm(dim=-1) / length
        return relative
    cosine: Tensor = (z * z_q).sum(dim=-1) / (z.norm(dim=-1) * length).clamp_min(torch.finfo(torch.float32).tiny)
    return 1 - cosine.clamp(-1, 1)


def pairwise_distances(
    z_q: Float[Tensor, "query width"], z: Float[Tensor, "prefix width"], metric: Metric = "euclidean"
) -> Float[Tensor, "query prefix"]:
    """Distances in fp32 of every activation from every query activation, as `distances` has them; raises as it does."""
    z, z_q = z.float(), z_q.float()
    length = _checked_length(z_q)[:, None]
    if metric == "euclidean":
        # Not by |z|² + |q|² - 2 z·q, which loses small distances to rounding.
        apart: Tensor = torch.cdist(z_q, z, compute_mode="donot_use_mm_for_euclid_dist")
        return apart / length
    lengths = (length * z.norm(dim=-1)).clamp_min(torch.finfo(torch.float32).tiny)
    cosine: Tensor = z_q @ z.T / lengths
    return 1 - cosine.clamp(-1, 1)


def within_distance(
    z_q: Float[Tensor, "query width"],
    z: Float[Tensor, "prefix width"],
    epsilon: float,
    metric: Metric = "euclidean",
) -> Bool[Tensor, "query prefix"]:
    """Where `pairwise_distances` are at most `epsilon`, three times as fast for many queries; raises as it does."""
    if metric != "euclidean":
        return pairwise_distances(z_q, z, metric).double() <= epsilon
    z, z_q = z.float(), z_q.float()
    length = _checked_length(z_q)[:, None]
    scaled, ones = z_q / length, torch.ones(len(z_q), 1, device=z.device)
    squares = (z * z).sum(dim=1)
    # |z - q|² / |q|² as one matrix product; rounding is mended below.
    left = torch.cat([scaled * (-2 / length), length**-2, ones], dim=1)
    apart = left @ torch.cat([z, squares[:, None], torch.ones(len(z), 1, device=z.device)], dim=1).T - epsilon**2
    inside = apart <= 0
    # A product of numbers up to 1 + |z|² / |q|² loses some 1e-7 of them; where |z| is much more, it is far outside.
    query, prefix = (apart.abs_() <= 4e-6 * (1 + epsilon) ** 2).nonzero(as_tuple=True)
    if len(query):
        exact = (z[prefix] - z_q[query]).norm(dim=1) / length[query, 0]
        inside[query, prefix] = exact.double() <= epsilon
    return inside


def _checked_length(z_q: Float[Tensor, "*any width"]) -> Float[Tensor, "*any"]:
    length: Tensor = z_q.norm(dim=-1)
    if not torch.isfinite(length).all():
        raise UserError("the query activation is not finite: the probed model overflows there, so use a wider dtype")
    if (length == 0).any():
        raise UserError(
            "the query activation has norm 0, and no distance from it is defined: read another position or site"
        )
    return length
