"""Cross-entropy over a large vocabulary in parts of the batch, so that few of the logits are held at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

IGNORED = -100
"""The target of a position that does not count."""
LOGITS_AT_ONCE = 2**24
"""Logits held at once, in training and in scoring (64 MB in fp32), unless a single position has more of them."""

Unembed = Callable[[Tensor], Tensor]
"""Logits (fp32) [flat, vocab] of hidden states [flat, d_model]."""


def masked(logits: Float[Tensor, "flat vocab"], possible: Bool[Tensor, "flat vocab"] | None) -> Tensor:
    """Give tokens that cannot come next no probability; without a mask, all of them can."""
    return logits if possible is None else logits.masked_fill(~possible, -torch.inf)


def summed_loss(
    unembed: Unembed,
    weights: Sequence[nn.Parameter],
    hidden: Float[Tensor, "flat d_model"],
    targets: Int[Tensor, " flat"],
    possible: Bool[Tensor, "flat vocab"] | None,
    vocab_size: int,
) -> Float[Tensor, ""]:
    """Sum of the negative log-probabilities of `targets`, in nats; where one is `IGNORED`, no logits are made.

    `weights` are the parameters that `unembed` uses. A batch with few logits takes one plain pass.
    """
    rows = max(1, LOGITS_AT_ONCE // vocab_size)
    if len(hidden) <= rows:
        return F.cross_entropy(masked(unembed(hidden), possible), targets, ignore_index=IGNORED, reduction="sum")
    found: Tensor = _LossInParts.apply(hidden, targets, possible, rows, unembed, *weights)  # type: ignore[no-untyped-call]
    return found


class _LossInParts(torch.autograd.Function):
    """Takes each part's gradient as soon as its loss is known: its logits are then made once, and dropped.

    Checkpointing would make them twice, which takes half as long again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        possible: Tensor | None,
        rows: int,
        unembed: Unembed,
        *weights: Tensor,
    ) -> Tensor:
        trained = [weight for weight in weights if weight.requires_grad]
        wanted = hidden.requires_grad or bool(trained)
        gradients = [torch.zeros_like(tensor) for tensor in (hidden, *trained)] if wanted else []
        total = torch.zeros((), device=hidden.device)
        for part in torch.split((targets != IGNORED).nonzero()[:, 0], rows):
            with torch.set_grad_enabled(wanted):
                inputs = hidden[part].detach().requires_grad_(wanted)
                logits = masked(unembed(inputs), None if possible is None else possible[part])
                loss = F.cross_entropy(logits, targets[part], reduction="sum")
            total += loss.detach()
            if wanted:
                of_hidden, *of_weights = torch.autograd.grad(loss, [inputs, *trained])
                gradients[0][part] = of_hidden
                for sum_, one in zip(gradients[1:], of_weights, strict=True):
                    sum_ += one
        ctx.trained = [weight.requires_grad for weight in weights]
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        of_hidden, *rest = (gradient * outer[0].to(gradient.dtype) for gradient in ctx.saved_tensors)
        left = iter(rest)
        return of_hidden, None, None, None, None, *(next(left) if trained else None for trained in ctx.trained)
