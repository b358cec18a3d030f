"""How far an activation is from the query activation."""

from __future__ import annotations

from typing import cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.errors import UserError
from inversionview.preimage.result import Metric


def distances(
    z: Float[Tensor, "*any d_model"], z_q: Float[Tensor, "*any_or_one d_model"], metric: str = "euclidean"
) -> Float[Tensor, "*any"]:
    """Distances in fp32 of activations from the query activations, which are broadcast to them.

    `euclidean`: ‖z − z_q‖ / ‖z_q‖, so 0.1 is a tenth of the query activation's length; not symmetric. `cosine`:
    1 − cos(z, z_q), from 0 to 2, and 1 for a zero `z`, which has no direction.
    Raises `UserError` for an unknown metric, or a query activation that is zero or not finite. Source: InversionView,
    section 2.
    """
    checked_metric(metric)
    z, z_q = z.float(), z_q.float()
    length = z_q.norm(dim=-1)
    if not torch.isfinite(length).all():
        raise UserError("the query activation is not finite: the probed model overflows there, so use a wider dtype")
    if (length == 0).any():
        raise UserError(
            "the query activation has norm 0, and no distance from it is defined: read another position or site"
        )
    if metric == "euclidean":
        found: Tensor = (z - z_q).norm(dim=-1) / length
        return found
    cosine: Tensor = (z * z_q).sum(dim=-1) / (z.norm(dim=-1) * length).clamp_min(torch.finfo(torch.float32).tiny)
    return 1 - cosine.clamp(-1, 1)


def checked_metric(metric: str) -> Metric:
    """Give the metric of this name. Raises `UserError` that names the ones there are."""
    if metric not in get_args(Metric):
        raise UserError(f"unknown metric {metric!r}: use {' or '.join(get_args(Metric))}")
    return cast(Metric, metric)
