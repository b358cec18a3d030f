"""Which positions of an input can be read: between begin and end, the last of them, one at random."""

from __future__ import annotations

import torch
from jaxtyping import Float

from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Task


def last_eligible(task: Task, tokens: Tokens) -> Positions:
    """The last position of each input that may be read."""
    eligible = task.eligible(tokens)
    return (eligible * torch.arange(1, eligible.shape[1] + 1)).max(dim=1).values - 1


def draw_positions(
    task: Task, tokens: Tokens, generator: torch.Generator, weights: Float[torch.Tensor, " pos"] | None = None
) -> Positions:
    """One eligible position [batch] of each input: uniformly, or in proportion to `weights`."""
    allowed = task.eligible(tokens).float()
    if weights is not None:
        allowed = allowed * weights[: tokens.shape[1]]
    return torch.multinomial(allowed, 1, generator=generator)[:, 0]
