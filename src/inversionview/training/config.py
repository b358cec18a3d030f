"""What a training run is told, a dozen numbers that the checkpoint keeps; and what it must know of what it trains."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.seeds import checked_seed

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; exactly one of `steps` and `minutes` is given. Anything that cannot be meant is a `UserError`."""

    batch_size: int = 256
    """Instances a step, over all processes together."""
    learning_rate_matrices: float | None = 0.02
    """Peak learning rate of the weight matrices (Muon); None: they are AdamW's, as everything else is."""
    matrices_every: int = 1
    """Steps between two updates of a weight matrix, which are so many times as long; each step updates its share.

    2 halves what they cost, and a step may teach less: for models whose updates take much of a step."""
    learning_rate: float = 1e-3
    """Peak learning rate of everything else: embeddings, heads, norms, biases (AdamW)."""
    weight_decay: float = 0.01
    """Decoupled weight decay, times the learning rate, of every weight with two axes or more."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises linearly to its peak."""
    final_fraction: float = 0.02
    """The cosine that follows ends at this fraction of the peak; 1: the rate is constant."""
    minutes: float | None = None
    """Wall time of the whole run; turned into steps once some have been timed, and again later."""
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
        checked_seed(self.seed)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UserError(f"minutes must be more than 0, not {self.minutes}")
        if self.final_fraction > 1:
            raise UserError(f"final_fraction must lie between 0 and 1, not {self.final_fraction}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")

    def to_json(self) -> dict[str, Any]:
        """Give the fields by name, as plain JSON."""
        return asdict(self)

    def learning_rate_factor(self, step: int, total_steps: int | None) -> float:
        """Give the fraction of the peak learning rate for the step after `step` steps: linear rise, then half a cosine.

        The last step gets `final_fraction`. The rise does not depend on the total, which may be unknown (None) while
        steps are still being timed; the rate then stays at its peak once it is there.
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if total_steps is None:
            return 1.0
        progress = min(1.0, (step + 1 - self.warmup_steps) / max(1, total_steps - self.warmup_steps))
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * progress)) / 2


_LEAST = {
    "batch_size": 1,
    "learning_rate_matrices": 0,
    "matrices_every": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "warmup_steps": 0,
    "final_fraction": 0,
    "steps": 1,
    "checkpoint_every_seconds": 0,
    "log_every": 1,
}


class Objective(Protocol):
    """A module, batches for it, and its loss.

    Some optional attributes are read as well. `after_step_period` (int, 1 if absent) says that `after_step` does its
    work at multiples of that many steps, so that a budget in minutes can count it (if it comes round within a tenth of
    it). `steady_after` (int, 0 if absent) is the number of steps after which all steps cost alike, where the first ones
    cost more or less. `steps_of_a_pass(batch_size)` (0 if absent) is the number of steps below which a budget in
    minutes is refused. `ahead(batch_size)` (nothing if absent) is the `budget.Ahead` of its batches. The module may
    offer `matrix_parameters()`, the weight matrices for Muon, and `compute_dtype`, which is then set in place of
    autocasting.
    """

    @property
    def module(self) -> nn.Module:
        """What is optimised and saved; on its device already when training starts."""
        ...

    def batch(self, step: int, *, size: int, rank: int, world: int) -> Any:
        """Give this process's slice (`size / world` instances, the `rank`-th) of the step's global batch of `size`.

        A pure function of the objective's own seed and state and of `step` (the number of steps done so far), so that a
        resumed run sees what an uninterrupted one sees and any number of processes share the same global batch.
        """
        ...

    def loss(self, module: nn.Module, batch: Any) -> Tensor:
        """Give the mean loss of this process's instances, a scalar, by calling `module` (perhaps wrapped for many)."""
        ...

    def after_step(self, step: int) -> dict[str, float]:
        """Do periodic work when `step` steps are done, and give what is worth logging (mostly nothing: `{}`).

        Deterministic, and the same in every process. Called in every process.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give what `after_step` has changed, as JSON; no collective calls, as only the first process asks."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...
