"""Where the time of a run goes, and minutes into steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

PARTS = ("preparation", "batch", "forward_backward", "optimizer", "after_step", "checkpoint", "log")


class Clock:
    """Adds up wall time in seconds by part, from when it is made, over a run and what it resumes.

    `last` holds each part's latest block.

    On a GPU, work that is under way when the host moves on is counted where the host next waits for it.
    """

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.last = dict.fromkeys(PARTS, 0.0)
        self._start = perf_counter()

    def begin(self) -> float:
        """Count all so far as preparation, which is given in seconds: the training begins."""
        self.parts["preparation"] = self.last["preparation"] = self.seconds
        return self.seconds

    def resume(self, seconds: float, parts: dict[str, float]) -> None:
        """Count the time of the run that is resumed too."""
        self._start -= seconds
        for part, spent in parts.items():
            self.parts[part] = self.parts.get(part, 0.0) + spent

    @property
    def seconds(self) -> float:
        """Seconds since the run began, without the time between a stop and its resumption."""
        return perf_counter() - self._start

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count the block's time as `part`'s."""
        start = perf_counter()
        try:
            yield
        finally:
            self.last[part] = perf_counter() - start
            self.parts[part] += self.last[part]

    def shares(self) -> dict[str, float]:
        """Give each part's share of all the time so far; "other" is what no part accounts for."""
        seconds = self.seconds
        shares = {part: spent / seconds for part, spent in self.parts.items()}
        return shares | {"other": max(0.0, 1 - sum(shares.values()))}


DISCARDED = 3
"""Steps that are not timed: the first ones pay for memory, kernels and caches."""
TIMED = 10
"""Steps that are timed at least ..."""
LEAST_SHARE = 0.03
"""... and for at least this share of the budget: short steps vary a lot."""
MOST_SHARE = 0.1
"""Timing ends after this share of the budget (and one step) ..."""
UNSTEADY_SHARE = 0.3
"""... or after this one, where the objective says that its first steps cost more than the others."""


RENEWED_AT = (0.25, 0.5, 0.75, 0.9)
"""Shares of the budget at which the plan is made again: a machine may be slower or faster than it was at first."""


class Ahead(NamedTuple):
    """What batches take now and then for many steps that follow, such as inputs that come in."""

    seconds: float
    """In this process so far."""
    a_step: float
    """Seconds that it comes to for each step."""


@dataclass(frozen=True)
class _Mark:
    """A moment of the run: steps done, seconds gone, seconds gone by part, and for what later steps use too."""

    step: int
    seconds: float
    parts: dict[str, float]
    ahead: float


class Planner:
    """Times training steps, then says how many steps make up the budget.

    The timing lasts until the learning rate is at its peak and `after_step` has once done its periodic work, so that
    the plan rests on as many steps as the schedule leaves free. It is renewed a few times, by the steps since it was
    made, which moves the learning rate by little. Times are seconds of wall time.
    """

    def __init__(
        self,
        seconds: float,
        *,
        warmup_steps: int,
        period: int,
        checkpoint_every: float,
        step: int,
        clock: Clock,
        steady_after: int = 0,
        ahead: Callable[[], Ahead] = lambda: Ahead(0.0, 0.0),
    ) -> None:
        self.seconds = seconds
        self.warmup_steps = warmup_steps
        self.period = period
        self.checkpoint_every = checkpoint_every
        self.steady_after = steady_after
        self.ahead = ahead
        self._start = self._now(step, clock)
        self._mark: _Mark | None = None
        self._share = clock.seconds / seconds

    def wants_checkpoint(self, step: int) -> bool:
        """Say whether to save now, when the timing starts, to learn what a checkpoint costs."""
        return step == self._start.step + DISCARDED

    def plan(self, step: int, clock: Clock) -> int | None:
        """Give the total number of steps, when `step` are done, or None while more are to be timed."""
        if step < self._start.step + DISCARDED:
            return None
        if self._mark is None or step == self.steady_after:
            self._mark = self._now(step, clock)
            return None
        if not self._is_enough(step - self._mark.step, step, clock):
            return None
        return self._planned(self._mark, step, clock)

    def renew(self, step: int, clock: Clock) -> int | None:
        """Give the total again where a share of the budget is reached at which that is due; else None."""
        before, self._share = self._share, clock.seconds / self.seconds
        if self._mark is None:  # of a run that is resumed
            self._mark = self._now(step, clock)
        if not any(before < share <= self._share for share in RENEWED_AT) or step - self._mark.step < TIMED:
            return None
        return self._planned(self._mark, step, clock)

    def _planned(self, mark: _Mark, step: int, clock: Clock) -> int:
        self._mark, self._share = self._now(step, clock), clock.seconds / self.seconds
        return step + self._steps_left(mark, step, clock)

    def _is_enough(self, timed: int, step: int, clock: Clock) -> bool:
        share = (clock.seconds - self._start.seconds) / self.seconds
        if share >= (MOST_SHARE if self._start.step >= self.steady_after else UNSTEADY_SHARE):
            return True
        peaked = step >= max(self.warmup_steps, self.steady_after) and self._periodic_work(step) > 0
        return peaked and timed >= TIMED and share >= LEAST_SHARE

    def _steps_left(self, mark: _Mark, step: int, clock: Clock) -> int:
        ahead = self.ahead()
        apart = sum(clock.parts[part] - mark.parts[part] for part in ("after_step", "checkpoint"))
        apart += ahead.seconds - mark.ahead
        cost = (clock.seconds - mark.seconds - apart) / (step - mark.step) + ahead.a_step
        if works := self._periodic_work(step):
            cost += (clock.parts["after_step"] - self._start.parts["after_step"]) / (works * self.period)
        checkpoint = clock.last["checkpoint"]
        training_share = 1 / (1 + checkpoint / max(self.checkpoint_every, cost))
        left = self.seconds - clock.seconds - checkpoint  # the run ends with a checkpoint
        return max(0, int(left * training_share / cost))

    def _now(self, step: int, clock: Clock) -> _Mark:
        return _Mark(step, clock.seconds, dict(clock.parts), self.ahead().seconds)

    def _periodic_work(self, step: int) -> int:
        """How many times `after_step` has done its work in this process."""
        return step // self.period - self._start.step // self.period
