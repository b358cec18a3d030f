"""One process or many: the few things that a run asks of the others, and how a run is told to end.

Ctrl-C and SIGTERM end it at the next step instead of in the middle of one.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from inversionview.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator


def default_device() -> torch.device:
    """Give this process's device: its own GPU under `torchrun` or `accelerate launch`, else the first, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


class Processes:
    """The processes that train together, over accelerate; a single one needs no accelerate and pays nothing for it.

    Raises `UserError` when a launcher started several processes that do not know of each other.
    """

    def __init__(self, accelerator: Accelerator | None, device: torch.device) -> None:
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if accelerator is None and launched > 1:
            accelerator = _launched(device.type == "cpu")
        world = accelerator.num_processes if accelerator else 1
        if launched > 1 and world != launched:  # each would train by itself, and all write the same files
            raise UserError(
                f"{launched} processes were launched but accelerate knows of {world}; without GPUs, pass it cpu=True"
            )
        self._accelerator = accelerator if world > 1 else None
        self.rank = self._accelerator.process_index if self._accelerator else 0
        self.world = world
        # Whether to stop is agreed at every step: over gloo, so that no GPU is waited for.
        self._control = dist.new_group(backend="gloo") if self._accelerator else None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Give a module whose gradients are averaged over the processes, all starting from the first one's weights."""
        if self._accelerator is None:
            return module
        wrapped = self._accelerator.prepare_model(module)
        if not isinstance(wrapped, nn.parallel.DistributedDataParallel):
            raise UserError(
                "training over several processes is data-parallel only; launch it without FSDP or DeepSpeed"
            )
        return wrapped

    def mean(self, values: Tensor) -> Tensor:
        """Average over the processes."""
        if self._accelerator is None:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.world

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes, of values on the CPU."""
        if self._control is None:
            return values
        values = values.clone()
        dist.all_reduce(values, group=self._control)
        return values

    def highest(self, *numbers: int) -> list[int]:
        """Give for each place the highest number that any process named; a process without a say gives 0."""
        if self._control is None:
            return list(numbers)
        agreed = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(agreed, dist.ReduceOp.MAX, group=self._control)
        return [int(number) for number in agreed]

    def wait_for_all(self) -> None:
        """Go on when every process is here."""
        self.highest(0)


@cache
def _launched(on_cpu: bool) -> Accelerator:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")  # the run's own precision decides
    atexit.register(_leave)
    return accelerator


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


AGAIN = 1.0
"""Seconds after which another Ctrl-C is meant: a launcher passes on what the terminal has sent to all already."""


class Stop:
    """Whether to stop; becomes true, and stays so."""

    since = math.inf
    """When it became true, on the clock of `time.monotonic`."""

    def __bool__(self) -> bool:
        return self.since < math.inf


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM in the `Stop` that is given; another SIGINT, a second later, acts as it did before.

    The handlers from before are back when the block ends. Outside the main thread, where Python allows no handlers,
    nothing is noted.
    """
    stop = Stop()
    before: dict[int, signal._HANDLER] = {}

    def note(number: int, frame: FrameType | None) -> None:
        stop.since = min(stop.since, monotonic())
        if number == signal.SIGINT and monotonic() - stop.since >= AGAIN:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
