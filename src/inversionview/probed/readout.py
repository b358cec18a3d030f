"""How a residual stream becomes logits, with the scale of every norm frozen at what it is in a run."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.probed.norms import Vectors, bias_of, frozen, unscaled
from inversionview.shapes import Activations


class Readout:
    """The final norm and the unembedding of a probed model; raises UserError where it has no head."""

    def __init__(self, probed: ProbedModel) -> None:
        if probed._head is None:
            raise UserError(
                f"{type(probed.model).__name__} has no language modelling head: load it as a causal language model"
            )
        self._parts, self._head = probed._parts, probed._head

    @torch.no_grad()
    def contributions(self, parts: Vectors, stream: Activations) -> Float[Tensor, "*part batch vocab"]:
        """What each part of the last residual stream adds to the logits, the norm's scale being that of `stream`.

        Linear in `parts`. LayerNorm takes each part's mean over d_model away, so it does not matter whether that was
        done before (convention `tl`). Logits are the model's own, not centred over the vocabulary, and before a cap
        such as Gemma's.
        """
        norm, weight = frozen(self._parts.final_norm, self._parts.architecture.norm, stream), self._head.weight
        logits: Tensor = norm(parts).to(weight.device) @ weight.float().T
        return self._parts.logit_scale * logits.to(parts.device)

    @torch.no_grad()
    def unscaled(self, parts: Vectors) -> Float[Tensor, "*part batch vocab"]:
        """What each part gives with the unembedding alone, the final norm's weight in it and its scale left out.

        Centred over the vocabulary: TransformerLens' `W_U` of a model that it has processed.
        """
        like, weight = parts.reshape(-1, parts.shape[-1]), self._head.weight
        norm = unscaled(self._parts.final_norm, self._parts.architecture.norm, like)
        logits: Tensor = norm(parts).to(weight.device) @ weight.float().T
        return (self._parts.logit_scale * (logits - logits.mean(dim=-1, keepdim=True))).to(parts.device)

    @torch.no_grad()
    def differences(
        self, parts: Vectors, stream: Activations, tokens: Int[Tensor, "batch 2"]
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
        bias = bias_of(self._parts.final_norm, weight.new_zeros(weight.shape[1]))
        logits = weight @ bias
        return self._parts.logit_scale * (logits if self._head.bias is None else logits + self._head.bias.float())

    @property
    def cap(self) -> float | None:
        """Where c is not None, the model's logits are c tanh(x / c) of those that contributions add up to."""
        cap = getattr(self._parts.decoder.config, "final_logit_softcapping", None)
        return None if cap is None else float(cap)


@torch.no_grad()
def heads_in_stream(probed: ProbedModel, layer: int, heads: Vectors) -> Vectors:
    """What each head of a layer adds to the residual stream: `[head, batch, d_model]`, from the heads' results.

    These themselves, but where a norm follows the projection (Gemma), whose scale is then frozen.
    """
    parts = probed._parts
    part = parts.layers[layer]
    if not part.norm_after_heads:
        return heads
    projected = heads.sum(dim=0)
    bias = part.projection.bias
    projected = projected if bias is None else projected + bias.to(projected.device)
    return frozen(part.attn_out, parts.architecture.norm, projected)(heads)
