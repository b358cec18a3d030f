"""Norms with their scale frozen at what it is in a run, which makes them linear; and so how a stream becomes logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.shapes import Activations

Parts = Float[Tensor, "*part batch d_model"]
"""Vectors that add up to a batch of residual streams, or some of these."""

_LARGE = 1e3
"""So large that no norm's epsilon counts beside its square."""


class Readout:
    """The final norm and the unembedding of a probed model; raises UserError where it has no head."""

    def __init__(self, probed: ProbedModel) -> None:
        if probed._head is None:
            raise UserError(
                f"{type(probed.model).__name__} has no language modelling head: load it as a causal language model"
            )
        self._parts, self._head = probed._parts, probed._head

    @torch.no_grad()
    def contributions(self, parts: Parts, stream: Activations) -> Float[Tensor, "*part batch vocab"]:
        """What each part of the last residual stream adds to the logits, the norm's scale being that of `stream`.

        Linear in `parts`. LayerNorm takes each part's mean over d_model away, so it does not matter whether that was
        done before (convention `tl`). Logits are the model's own, not centred over the vocabulary, and before a cap
        such as Gemma's.
        """
        norm, weight = frozen(self._parts.final_norm, self._parts.architecture.norm, stream), self._head.weight
        logits: Tensor = norm(parts).to(weight.device) @ weight.float().T
        return self._parts.logit_scale * logits.to(parts.device)

    @torch.no_grad()
    def differences(
        self, parts: Parts, stream: Activations, tokens: Int[Tensor, "batch 2"]
    ) -> Float[Tensor, "*part batch"]:
        """What each part adds to the logit of an input's first token above that of its second; as `contributions`."""
        norm, both = (
            frozen(self._parts.final_norm, self._parts.architecture.norm, stream),
            tokens.to(self._head.weight.device),
        )
        apart = self._head.weight[both[:, 0]].float() - self._head.weight[both[:, 1]].float()
        return self._parts.logit_scale * torch.einsum("...bd,bd->...b", norm(parts), apart.to(parts.device))

    @torch.no_grad()
    def constant(self) -> Float[Tensor, " vocab"]:
        """What the biases of the final norm and of the unembedding add to every logit."""
        weight = self._head.weight.float()
        bias = _bias(self._parts.final_norm, weight.new_zeros(weight.shape[1]))
        logits = weight @ bias
        return self._parts.logit_scale * (logits if self._head.bias is None else logits + self._head.bias.float())

    @property
    def cap(self) -> float | None:
        """Where c is not None, the model's logits are c tanh(x / c) of those that contributions add up to."""
        cap = getattr(self._parts.decoder.config, "final_logit_softcapping", None)
        return None if cap is None else float(cap)


@torch.no_grad()
def heads_in_stream(probed: ProbedModel, layer: int, heads: Parts) -> Parts:
    """What each head of a layer adds to the residual stream: `[head, batch, d_model]`, from the heads' results.

    These themselves, but where a norm follows the projection (Gemma), whose scale is then frozen.
    """
    parts = probed._parts
    part = parts.layers[layer]
    if parts.architecture.attn_out == parts.architecture.attention:
        return heads
    projected = heads.sum(dim=0)
    bias = part.projection.bias
    projected = projected if bias is None else projected + bias.to(projected.device)
    return frozen(part.attn_out, parts.architecture.norm, projected)(heads)


def frozen(norm: nn.Module, kind: Literal["LayerNorm", "RMSNorm"], at: Activations) -> Callable[[Parts], Parts]:
    """A norm as the linear map that it is at the scale of its inputs `at`, without its bias, in fp32."""
    weight, at = _weight(norm, kind, at), at.float()

    def scaled(values: Tensor) -> Tensor:
        values = values.float()
        return weight * (values - values.mean(-1, keepdim=True) if kind == "LayerNorm" else values)

    # From what the norm gives, because its epsilon goes by another name in each model.
    made = norm(at.to(_dtype(norm, at))).float().to(at.device)  # a norm may lie on another device
    base, out = scaled(at), made - _bias(norm, at[0])
    scale = (out * base).sum(-1, keepdim=True) / (base * base).sum(-1, keepdim=True).clamp_min(1e-30)
    return lambda parts: scale * scaled(parts)


def _bias(norm: nn.Module, like: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    bias: Tensor = norm(torch.zeros_like(like, dtype=_dtype(norm, like)))
    return bias.float().to(like.device)


def _weight(norm: nn.Module, kind: str, like: Tensor) -> Float[Tensor, " d_model"]:
    """The factors of the norm; of an RMSNorm from what it gives, because Gemma's are 1 more than its parameter."""
    ones = torch.ones_like(like[0], dtype=torch.float32)
    if kind == "LayerNorm":
        weight = getattr(norm, "weight", None)
        return ones if weight is None else weight.float().to(like.device)
    factors: Tensor = norm((_LARGE * ones).to(_dtype(norm, like)))
    return factors.float().to(like.device)


def _dtype(norm: nn.Module, like: Tensor) -> torch.dtype:
    return next((parameter.dtype for parameter in norm.parameters()), like.dtype)
