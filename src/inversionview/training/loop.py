"""The one training loop, for decoders and probed models alike."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from inversionview.errors import UserError
from inversionview.files import claimed
from inversionview.progress import advance, stage, untold
from inversionview.seeds import mixed
from inversionview.training.budget import Ahead, Clock, Planner
from inversionview.training.checkpoint import (
    Checkpoint,
    Progress,
    check_same_config,
    load_checkpoint,
    load_module_tensors,
    module_tensors,
    newest_checkpoint,
    save_checkpoint,
)
from inversionview.training.config import Objective, TrainingConfig
from inversionview.training.logging import JsonLines, Logger, Loggers
from inversionview.training.optimizers import Optimizers
from inversionview.training.precision import computing_in, resolve_precision, synchronize
from inversionview.training.processes import Processes, Stop, stop_on_signals

if TYPE_CHECKING:
    from accelerate import Accelerator

MOST_PREPARED = 0.5
"""Share of a run's minutes that its preparation may take and nothing is said of it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What came of a run."""

    steps: int
    """Steps done, those before a resumption included."""
    seconds: float
    """Wall time of the run, that before a resumption included."""
    instances_per_second: float
    """Instances over seconds, the whole run."""
    losses: dict[int, float]
    """The loss of each logged step of this call, by the steps done: the mean over the global batch."""
    interrupted: bool
    """Whether a signal ended it before its time; there is a checkpoint to resume from."""
    shares: dict[str, float]
    """Where the time went: the share of each of `budget.PARTS`, and of what is left as "other"."""


def train(
    objective: Objective,
    config: TrainingConfig,
    out: str | Path,
    *,
    resume: bool = False,
    logger: Logger | None = None,
    accelerator: Accelerator | None = None,
    clock: Clock | None = None,
) -> TrainingResult:
    """Train `objective.module` in place; `out` receives the checkpoints and `metrics.jsonl`.

    With `resume`, go on from the newest checkpoint in `out`: at the same number of threads the losses are, to the bit,
    those of a run that was never stopped. Under `torchrun` or `accelerate launch` the processes train together and the
    first one writes. SIGINT and SIGTERM end the run after the step under way, with a checkpoint. `clock` was made when
    the preparation began, which then counts as a part of the run and of its minutes.

    Raises `UserError` when `out` has content (without `resume`) or none (with it) or another run writes there, the
    checkpoint is damaged, of another model or another config, the loss is no longer a number, or the disk is full.
    """
    clock, out = clock or Clock(), Path(out)
    _say_what_is_left(config, clock.begin())
    processes = Processes(accelerator, _device(objective))
    if config.batch_size % processes.world:
        raise UserError(f"batch_size {config.batch_size} cannot be shared equally by {processes.world} processes")
    with ExitStack() as held:
        if processes.is_first:
            held.enter_context(claimed(out, resume=resume))
        processes.wait_for_all()
        run = _Run(objective, config, out, processes, clock, resume=resume)
        loggers = Loggers()
        if processes.is_first:
            lines = JsonLines(out / "metrics.jsonl", keep_until=run.progress.step)
            loggers = Loggers(lines, *([logger] if logger else []))
        held.callback(loggers.close)
        with stop_on_signals() as stop:
            return run.go(stop, loggers)


class _Run:
    """A run under way: what a step reads and changes."""

    def __init__(
        self,
        objective: Objective,
        config: TrainingConfig,
        out: Path,
        processes: Processes,
        clock: Clock,
        *,
        resume: bool,
    ) -> None:
        self.objective, self.config, self.out = objective, config, out
        self.processes, self.clock = processes, clock
        self.module = processes.wrap(objective.module)
        self.device = _device(objective)
        saved = self._load() if resume else None
        self.progress = saved.progress if saved else Progress(self._choose_dtype(), total_steps=config.steps)
        self.dtype: torch.dtype = getattr(torch, self.progress.dtype)
        if hasattr(objective.module, "compute_dtype"):
            objective.module.compute_dtype = self.dtype
        self.optimizers = Optimizers(objective.module, config, self.dtype)
        self.optimizers.load_tensors(saved.optimizer if saved else {})
        clock.resume(self.progress.seconds, self.progress.parts)
        self.planner = self._new_planner()
        self.loss = torch.zeros((), device=self.device)
        self.loss_sum = torch.full((), self.progress.loss_sum, device=self.device)
        self.losses: dict[int, float] = {}
        self.saved_at = (self.progress.step if saved else 0, clock.seconds)
        self.logged_at = (self.progress.step, clock.seconds)

    def go(self, stop: Stop, logger: Logger) -> TrainingResult:
        """Take steps until the total is reached or a signal came."""
        stopped = False
        with ExitStack() as telling:
            telling.enter_context(stage("taking the first steps", self.config.log_every))
            while not self._is_done() and not stopped:
                self._step()
                advance(1)
                with self.clock.time("after_step"):
                    values = self.objective.after_step(self.progress.step)
                stopped, save = self._agree(stop)
                if self._is_log_due() and not self.losses:
                    telling.close()
                    telling.enter_context(untold())  # the logger tells of the others
                with self.clock.time("log"):
                    self._log(logger, values)
                if save or stopped:
                    self._save()
        if self._is_done():
            self._save()
        return self._result(interrupted=not self._is_done())

    def _step(self) -> None:
        config, progress, time = self.config, self.progress, self.clock.time
        _seed_generators(self.device, config.seed, progress.step, self.processes.rank)
        if not self.objective.module.training:
            self.module.train()
        with time("batch"):
            batch = self.objective.batch(
                progress.step, size=config.batch_size, rank=self.processes.rank, world=self.processes.world
            )
        with time("forward_backward"):
            with computing_in(self.dtype, self.objective.module, self.device):
                loss = self.objective.loss(self.module, batch)
            loss.backward()
        with time("optimizer"):
            self.optimizers.step(config.learning_rate_factor(progress.step, progress.total_steps), progress.step)
        self.loss = loss.detach().float()
        self.loss_sum += self.loss
        progress.loss_count += 1
        progress.step += 1

    def _agree(self, stop: Stop) -> tuple[bool, bool]:
        """Settle with the other processes whether to stop, whether to save, and how long the run is."""
        total = save = 0
        if self.processes.is_first:
            total = self._plan()
            save = total or self._is_save_due()
        stopped, save, total = self.processes.highest(int(bool(stop)), save, total)
        if total and self.progress.total_steps is None:
            self._check_a_pass(total)
        self.progress.total_steps = total or self.progress.total_steps
        return bool(stopped), bool(save)

    def _plan(self) -> int:
        if self.config.minutes is None:
            return 0
        planner, step = self.planner, self.progress.step
        if self.progress.total_steps is not None:
            return planner.renew(step, self.clock) or 0
        synchronize(self.device)
        return planner.plan(step, self.clock) or 0

    def _check_a_pass(self, total: int) -> None:
        """Raise where the minutes hold fewer steps than the objective says that it takes to see its data once."""
        needed = getattr(self.objective, "steps_of_a_pass", lambda size: 0)(self.config.batch_size)
        if total >= needed:
            return
        prepared, step = self.clock.parts["preparation"], self.progress.step
        seconds = prepared + needed * (self.clock.seconds - prepared) / step
        raise UserError(
            f"{self.config.minutes:g} minutes are {total:,} steps here, and one pass over the inputs that the training "
            f"begins with takes {needed:,}: give at least {math.ceil(seconds / 6) / 10:g} minutes"
        )

    def _is_save_due(self) -> bool:
        if self.progress.total_steps is None and self.planner.wants_checkpoint(self.progress.step):
            return True
        return self.clock.seconds - self.saved_at[1] >= self.config.checkpoint_every_seconds

    def _log(self, logger: Logger, values: dict[str, float]) -> None:
        progress = self.progress
        if self._is_log_due():
            loss, loss_sum = self.processes.mean(torch.stack([self.loss, self.loss_sum])).tolist()
            self._check_finite(loss_sum)
            self.losses[progress.step] = loss
            values = {**values, "loss": loss, "mean_loss": loss_sum / progress.loss_count, **self._pace()}
            self.loss_sum = torch.zeros_like(self.loss_sum)
            progress.loss_count = 0
        if values:
            logger.log(progress.step, progress.total_steps, values)

    def _is_log_due(self) -> bool:
        return self.progress.step % self.config.log_every == 0 or self._is_done()

    def _pace(self) -> dict[str, float]:
        config, step, seconds = self.config, self.progress.step, self.clock.seconds
        rate = (step - self.logged_at[0]) * config.batch_size / (seconds - self.logged_at[1])
        self.logged_at = step, seconds
        return {
            "learning_rate": config.learning_rate * config.learning_rate_factor(step - 1, self.progress.total_steps),
            "seconds": seconds,
            "instances_per_second": rate,
        } | {f"share_{part}": share for part, share in self.clock.shares().items()}

    def _save(self) -> None:
        progress = self.progress
        if self.saved_at[0] == progress.step:
            return
        with self.clock.time("checkpoint"):
            self.loss_sum = self.processes.mean(self.loss_sum)
            progress.loss_sum = self.loss_sum.item()
            self._check_finite(progress.loss_sum)
            progress.seconds, progress.parts = self.clock.seconds, dict(self.clock.parts)
            if self.processes.is_first:
                save_checkpoint(self.out, self._checkpoint())
        self.saved_at = progress.step, self.clock.seconds

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self.config.to_json(),
            self.progress,
            self.objective.state_dict(),
            module_tensors(self.objective.module),
            self.optimizers.tensors(),
        )

    def _load(self) -> Checkpoint:
        path = newest_checkpoint(self.out)
        saved = load_checkpoint(path)
        check_same_config(path, saved.config, self.config)
        load_module_tensors(self.objective.module, saved.module)
        self.objective.load_state_dict(saved.objective)
        return saved

    def _choose_dtype(self) -> str:
        wants_bf16 = self.processes.is_first and resolve_precision(self.config.precision, self.device) == torch.bfloat16
        return "bfloat16" if self.processes.highest(int(wants_bf16))[0] else "float32"

    def _new_planner(self) -> Planner:
        ahead = getattr(self.objective, "ahead", lambda size: Ahead(0.0, 0.0))
        return Planner(
            60 * (self.config.minutes or math.inf),
            warmup_steps=self.config.warmup_steps,
            period=getattr(self.objective, "after_step_period", 1),
            steady_after=getattr(self.objective, "steady_after", 0),
            checkpoint_every=self.config.checkpoint_every_seconds,
            step=self.progress.step,
            clock=self.clock,
            ahead=lambda: ahead(self.config.batch_size),
        )

    def _is_done(self) -> bool:
        return self.progress.total_steps is not None and self.progress.step >= self.progress.total_steps

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} by step {self.progress.step}; a lower learning rate or precision fp32 may help"
            )

    def _result(self, *, interrupted: bool) -> TrainingResult:
        steps, seconds = self.progress.step, self.clock.seconds
        rate = steps * self.config.batch_size / seconds
        return TrainingResult(steps, seconds, rate, self.losses, interrupted, self.clock.shares())


def _say_what_is_left(config: TrainingConfig, prepared: float) -> None:
    """Warn where the preparation took most of the time that the run may take."""
    if config.minutes is not None and prepared > MOST_PREPARED * 60 * config.minutes:
        _log.warning(
            "the preparation took %.0f s of the %g minutes of this run, which is short for it", prepared, config.minutes
        )


def _device(objective: Objective) -> torch.device:
    return next(objective.module.parameters()).device


def _seed_generators(device: torch.device, *numbers: int) -> None:
    """Seed torch's generators for the CPU and `device` with a mix of the numbers: then no random state needs saving."""
    seed = mixed(*numbers)
    # torch.manual_seed reaches for every kind of device, and keeps a list of the calls to those that are not in use.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
