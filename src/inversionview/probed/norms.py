"""Norms with their scale frozen at what it is in a run, which makes them linear; and so what each head adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inversionview.probed.parts import Parts
from inversionview.shapes import Activations

Vectors = Float[Tensor, "*part batch d_model"]
"""Vectors that add up to a batch of residual streams, or some of these."""

_LARGE = 1e3
"""So large that no norm's epsilon counts beside its square."""


@torch.no_grad()
def added_by_heads(parts: Parts, layer: int, heads: Sequence[int], z: Tensor) -> Tensor:
    """What some heads of a layer add to the residual stream where a norm follows: `[head, ..., d_model]`, as `z` is.

    `z` `[..., head * d_head]` of all heads, since the scale of the norm is that of their sum. With the share of the
    projection's bias, what all heads add is the attention's output.
    """
    part, rows = parts.layers[layer], z.reshape(-1, parts.n_heads, parts.d_head).float()
    weight, bias = parts.output_weight(layer).float(), part.projection.bias
    results = torch.einsum("bhk,hkd->hbd", rows, weight)
    projected = results.sum(dim=0) if bias is None else results.sum(dim=0) + bias.float()
    added = frozen(part.attn_out, parts.architecture.norm, projected)(results[list(heads)])
    return added.to(z.dtype).view(len(heads), *z.shape[:-1], parts.d_model)


def frozen(norm: nn.Module, kind: Literal["LayerNorm", "RMSNorm"], at: Activations) -> Callable[[Vectors], Vectors]:
    """A norm as the linear map that it is at the scale of its inputs `at`, without its bias, in fp32.

    May be called while the norm's own model runs: no hook of the norm sees it.
    """
    at, scaled = at.float(), unscaled(norm, kind, at)
    # From what the norm gives, because its epsilon goes by another name in each model.
    made = norm.forward(at.to(_dtype(norm, at))).float().to(at.device)  # a norm may lie on another device
    base, out = scaled(at), made - bias_of(norm, at[0])
    scale = (out * base).sum(-1, keepdim=True) / (base * base).sum(-1, keepdim=True).clamp_min(1e-30)
    return lambda parts: scale * scaled(parts)


def unscaled(norm: nn.Module, kind: Literal["LayerNorm", "RMSNorm"], like: Activations) -> Callable[[Vectors], Vectors]:
    """What a norm does beside its scale and its bias: centring, where it does, and its weight; in fp32."""
    weight = _weight(norm, kind, like)

    def scaled(values: Tensor) -> Tensor:
        values = values.float()
        return weight * (values - values.mean(-1, keepdim=True) if kind == "LayerNorm" else values)

    return scaled


def bias_of(norm: nn.Module, like: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """What a norm gives of a vector of zeros, in fp32."""
    bias: Tensor = norm.forward(torch.zeros_like(like, dtype=_dtype(norm, like)))
    return bias.float().to(like.device)


def _weight(norm: nn.Module, kind: str, like: Tensor) -> Float[Tensor, " d_model"]:
    """The factors of the norm; of an RMSNorm from what it gives, because Gemma's are 1 more than its parameter."""
    ones = torch.ones_like(like[0], dtype=torch.float32)
    if kind == "LayerNorm":
        weight = getattr(norm, "weight", None)
        return ones if weight is None else weight.float().to(like.device)
    factors: Tensor = norm.forward((_LARGE * ones).to(_dtype(norm, like)))
    return factors.float().to(like.device)


def _dtype(norm: nn.Module, like: Tensor) -> torch.dtype:
    return next((parameter.dtype for parameter in norm.parameters()), like.dtype)
