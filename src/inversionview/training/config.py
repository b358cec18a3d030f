"""What a training run is told: a dozen numbers, each of which the checkpoint keeps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from inversionview.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; exactly one of `steps` and `minutes` is given. Anything that cannot be meant is a `UserError`."""

    batch_size: int = 256
    """Instances a step, over all processes together."""
    learning_rate_matrices: float = 0.02
    """Peak learning rate of the weight matrices (Muon)."""
    learning_rate: float = 1e-3
    """Peak learning rate of everything else: embeddings, heads, norms, biases (AdamW)."""
    weight_decay: float = 0.01
    """Decoupled weight decay, times the learning rate, of every weight with two axes or more."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises linearly to its peak."""
    final_fraction: float = 0.02
    """The cosine that follows ends at this fraction of the peak."""
    minutes: float | None = None
    """Wall time of the whole run; turned into steps once, after some steps have been timed."""
    steps: int | None = None
    """Length of the whole run in steps."""
    seed: int = 0
    """Seeds torch's generators at every step, together with the step and the process."""
    precision: str = "auto"
    """Compute in "fp32" or "bf16"; "auto" takes bf16 where its matrix products are measured to be faster."""
    checkpoint_every_seconds: float = 60.0
    """Time between checkpoints; the one number that may change when a run is resumed."""
    log_every: int = 20
    """Steps between two lines of metrics."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise UserError("training needs a length: give steps or minutes, and not both")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise UserError(f"{name} must be a number of at least {least}, not {value}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UserError(f"minutes must be more than 0, not {self.minutes}")
        if self.final_fraction > 1:
            raise UserError(f"final_fraction must lie between 0 and 1, not {self.final_fraction}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")

    def to_json(self) -> dict[str, Any]:
        """Give the fields by name, as plain JSON."""
        return asdict(self)


_LEAST = {
    "batch_size": 1,
    "learning_rate_matrices": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "warmup_steps": 0,
    "final_fraction": 0,
    "steps": 1,
    "seed": 0,
    "checkpoint_every_seconds": 0,
    "log_every": 1,
}
