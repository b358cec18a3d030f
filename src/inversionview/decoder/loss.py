"""Cross-entropy over a large vocabulary in parts of the batch, so that few of the logits are held at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx

IGNORED = -100
"""The target of a position that does not count."""
LOGITS_AT_ONCE = 2**24
"""Logits held at once, in training and in scoring (64 MB in fp32), unless a single position has more of them."""
IN_CACHE = 2**20
"""Of these, so many are turned into probabilities together on a CPU: few enough (4 MB in fp32) to stay in its cache."""


class Head(NamedTuple):
    """What makes logits of the last hidden states."""

    weight: Float[Tensor, "vocab d_model"]
    bias: Float[Tensor, " vocab"] | None = None
    finish: Callable[[Tensor], Tensor] | None = None
    """What is done with each logit by itself, such as a cap; it keeps what it is given."""

    def logits(self, hidden: Float[Tensor, "flat d_model"]) -> Float[Tensor, "flat vocab"]:
        """Logits in fp32, computed in the dtype of `hidden`."""
        dtype = hidden.dtype
        made = F.linear(hidden, self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)).float()
        return made if self.finish is None else self.finish(made)


def masked(logits: Float[Tensor, "flat vocab"], possible: Bool[Tensor, "flat vocab"] | None) -> Tensor:
    """Give tokens that cannot come next no probability; without a mask, all of them can."""
    return logits if possible is None else logits.masked_fill(~possible, -torch.inf)


def summed_loss(
    head: Head,
    hidden: Float[Tensor, "flat d_model"],
    targets: Int[Tensor, " flat"],
    possible: Bool[Tensor, "flat vocab"] | None,
) -> Float[Tensor, ""]:
    """Sum of the negative log-probabilities of `targets`, in nats; where one is `IGNORED`, no logits are made.

    A batch with few logits takes one plain pass. The gradient of a larger one can be asked for once only.
    """
    if len(hidden) <= max(1, LOGITS_AT_ONCE // len(head.weight)):
        logits = masked(head.logits(hidden), possible)
        return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    wanted = _Wanted(targets, possible, head.finish)
    loss: Tensor = _LossInParts.apply(hidden, head.weight, head.bias, wanted)  # type: ignore[no-untyped-call]
    return loss


class _Wanted(NamedTuple):
    """What a loss in parts is taken of, beside what its gradients are taken of."""

    targets: Int[Tensor, " flat"]
    possible: Bool[Tensor, "flat vocab"] | None
    finish: Callable[[Tensor], Tensor] | None


class _Context(FunctionCtx):
    gradients: list[Tensor | None] | None


class _LossInParts(torch.autograd.Function):
    """Takes each part's gradient as soon as its loss is known: its logits are then made once, and dropped.

    Checkpointing would make them twice, which takes half as long again. All parts share one piece of memory, and each
    logit is overwritten by its gradient: memory that is new costs more time than what is computed in it.
    """

    @staticmethod
    def forward(ctx: _Context, hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: _Wanted) -> Tensor:
        targets, possible, finish = wanted
        parts = _Parts(hidden, weight, bias)
        total = torch.zeros((), device=hidden.device)
        for part in torch.split((targets != IGNORED).nonzero()[:, 0], parts.rows):
            inputs = hidden[part]
            logits = parts.logits(inputs)
            for start in range(0, len(part), parts.slice_rows):
                rows = slice(start, start + parts.slice_rows)
                allowed = None if possible is None else possible[part[rows]]
                total += parts.loss(logits[rows], targets[part[rows]], allowed, finish)
            parts.add_gradients(part, inputs, logits)
        ctx.gradients = parts.gradients
        return total

    @staticmethod
    def backward(ctx: _Context, *outer: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss was asked for before, and is not kept")
        gradients, ctx.gradients = ctx.gradients, None
        return *(None if gradient is None else gradient.mul_(outer[0]) for gradient in gradients), None


class _Parts:
    """The memory that all parts of a loss share, and what is done in it."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        vocab_size, dtype = len(weight), hidden.dtype
        self.rows = max(1, LOGITS_AT_ONCE // vocab_size)
        in_cache = IN_CACHE if hidden.device.type == "cpu" else LOGITS_AT_ONCE
        self.slice_rows = max(1, min(in_cache, LOGITS_AT_ONCE) // vocab_size)
        self.weight, self.bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        self.block = hidden.new_empty(min(self.rows, len(hidden)), vocab_size)
        self.scratch = weight.new_empty(min(self.slice_rows, len(hidden)), vocab_size, dtype=torch.float32)
        self.product = torch.empty_like(self.weight) if weight.requires_grad else None
        self.gradients = [
            torch.zeros_like(x) if x is not None and x.requires_grad else None for x in (hidden, weight, bias)
        ]

    def logits(self, inputs: Tensor) -> Tensor:
        block = self.block[: len(inputs)]
        if self.bias is None:
            return torch.mm(inputs, self.weight.T, out=block)
        return torch.addmm(self.bias, inputs, self.weight.T, out=block)

    def loss(
        self, logits: Tensor, targets: Tensor, possible: Tensor | None, finish: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        """The summed loss of some rows, whose logits are overwritten by their gradients."""
        raw = self.scratch[: len(logits)].copy_(logits)
        if finish is None:
            loss = _loss_and_gradient(raw, targets, possible)
            logits.copy_(raw)
            return loss
        with torch.enable_grad():
            finished = finish(raw.requires_grad_())
        gradient = finished.detach().clone()
        loss = _loss_and_gradient(gradient, targets, possible)
        logits.copy_(torch.autograd.grad(finished, raw, gradient)[0])
        return loss

    def add_gradients(self, part: Tensor, inputs: Tensor, logits: Tensor) -> None:
        """Add what the gradients of some positions' logits give."""
        of_hidden, of_weight, of_bias = self.gradients
        if of_hidden is not None:
            of_hidden[part] = logits @ self.weight
        if of_weight is not None:
            of_weight += torch.mm(logits.T, inputs, out=self.product)
        if of_bias is not None:
            of_bias += logits.sum(dim=0)


def _loss_and_gradient(
    logits: Float[Tensor, "flat vocab"], targets: Int[Tensor, " flat"], possible: Bool[Tensor, "flat vocab"] | None
) -> Float[Tensor, ""]:
    """The summed loss of `logits`, which become its gradient; step by step in place, for want of new memory."""
    if possible is not None:
        logits.masked_fill_(~possible, -torch.inf)
    logits -= logits.amax(dim=-1, keepdim=True)
    chosen = logits.gather(1, targets[:, None])
    logits.exp_()
    sums = logits.sum(dim=-1, keepdim=True)
    logits /= sums
    logits.scatter_add_(1, targets[:, None], torch.full_like(chosen, -1.0))
    return (sums.log() - chosen).sum()
