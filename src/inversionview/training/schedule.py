"""The learning rate over a run."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, *, warmup_steps: int, total_steps: int | None, final_fraction: float) -> float:
    """Give the fraction of the peak learning rate for the step after `step` steps: linear rise, then half a cosine.

    The last step gets `final_fraction`. The rise does not depend on the total, which may be unknown (None) while steps
    are still being timed; the rate then stays at its peak once it is there.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if total_steps is None:
        return 1.0
    progress = min(1.0, (step + 1 - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2
