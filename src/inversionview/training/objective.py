"""What is trained, as far as the loop needs to know."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """A module, batches for it, and its loss.

    Three optional attributes are read as well. `after_step_period` (int, 1 if absent) says that `after_step` does its
    work at multiples of that many steps, so that a budget in minutes can count it (if it comes round within a tenth of
    it). `steady_after` (int, 0 if absent) is the number of steps after which all steps cost alike, where the first ones
    cost more or less. The module may offer `matrix_parameters()`, the weight matrices for Muon, and `compute_dtype`,
    which is then set in place of autocasting.
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
