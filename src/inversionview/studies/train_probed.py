"""Training a probed model from scratch on a task, and measuring how well it does the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from inversionview.seeds import seeded
from inversionview.shapes import Tokens
from inversionview.tasks import Task

BLOCK = 64
"""Steps whose inputs are drawn at once."""


@dataclass
class ProbedObjective:
    """Cross-entropy of the answer's tokens, or of all, on inputs of the training side of the task's split."""

    module: nn.Module
    task: Task
    seed: int = 0
    all_tokens: bool = False
    _drawn: tuple[tuple[int, int], Tokens] | None = field(default=None, init=False, repr=False)

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Tokens:
        """Tokens [size / world, pos]; a pure function of (seed, step)."""
        block, place = divmod(step, BLOCK)
        if self._drawn is None or self._drawn[0] != (block, size):
            tokens = self.task.sample(BLOCK * size, generator=seeded(self.seed, block), split="train")
            self._drawn = (block, size), tokens
        tokens = self._drawn[1][place * size : (place + 1) * size]
        return tokens[rank::world].to(next(self.module.parameters()).device)

    def loss(self, module: nn.Module, batch: Tokens) -> Tensor:
        """Mean over inputs of the summed negative log-probability of what is to be learnt, in nats."""
        logits = module(batch[:, :-1], use_cache=False).logits
        learnt = batch != self.task.pad if self.all_tokens else self.task.answer_mask(batch)
        targets = batch[:, 1:].masked_fill(~learnt[:, 1:], -100)
        total = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="sum")
        return total / len(batch)

    def after_step(self, step: int) -> dict[str, float]:
        """Nothing is done between steps."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing beside the module needs keeping."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""
