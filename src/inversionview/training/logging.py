"""Where the numbers of a run go: one protocol, and the loop knows no more than that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from inversionview.errors import UserError
from inversionview.files import write_atomic
from inversionview.progress import span

if TYPE_CHECKING:
    from accelerate import Accelerator
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Logger(Protocol):
    """Takes the numbers of a run; only the first process calls it."""

    def log(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        """Take the values when `step` steps of `total_steps` (None: not yet known) are done."""
        ...

    def close(self) -> None:
        """Be done: the run has ended, well or not."""
        ...


class Loggers:
    """Several loggers as one; without any, nothing is kept."""

    def __init__(self, *loggers: Logger) -> None:
        self._loggers = loggers

    def log(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        """Hand on to each."""
        for logger in self._loggers:
            logger.log(step, total_steps, values)

    def close(self) -> None:
        """Close each."""
        for logger in self._loggers:
            logger.close()


class JsonLines:
    """One JSON object a line: `step` and the values.

    With `keep_until`, lines of later steps (and one that a kill cut short) are dropped first, so that the file of a
    resumed run reads as that of an uninterrupted one; without, an older file is replaced.
    """

    def __init__(self, path: Path, *, keep_until: int | None = None) -> None:
        self._path = path
        kept = [] if keep_until is None or not path.exists() else list(_lines(path, keep_until))
        write_atomic(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        """Write one line, at once; raises `UserError` when the disk is full."""
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ProgressBar:
    """A bar on standard error with the mean loss, instances per second and time left; plain lines if no terminal."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        about: str = "training",
        lines_every: float = 10.0,
        minutes: float | None = None,
    ) -> None:
        """`minutes`: how long the run is, which tells the time left before its number of steps is known."""
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._about, self._minutes = about, minutes
        self._first: tuple[int, float] | None = None
        self._lines_every = lines_every
        self._bar: tuple[Progress, TaskID] | None = None
        self._next_line = 0.0

    def log(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        """Show where the run is; values without a loss (of periodic work) are not for the bar."""
        if "mean_loss" not in values:
            return
        if self._console.is_terminal:
            self._draw(step, total_steps, values)
        elif perf_counter() >= self._next_line or step == total_steps:
            self._next_line = perf_counter() + self._lines_every
            shown = f"{self._about}: step {step} of {total_steps or '?'}, {_summary(values)}"
            shown += self._left(step, total_steps, values)
            self._console.print(shown, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar:
            self._bar[0].stop()

    def _draw(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        progress, task = self._bar = self._bar or self._start()
        left = self._left(step, None, values) if total_steps is None else ""  # else the bar tells it
        progress.update(task, completed=step, total=total_steps, summary=_summary(values) + left)

    def _left(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> str:
        """The time left in words, where it is known."""
        now = perf_counter()
        first, since = self._first = self._first or (step, now)
        if total_steps is not None and first < step < total_steps:
            return f", about {span((now - since) * (total_steps - step) / (step - first))} left"
        if total_steps is None and self._minutes is not None and "seconds" in values:
            return f", about {span(max(0.0, 60 * self._minutes - values['seconds']))} left"
        return ""

    def _start(self) -> tuple[Progress, TaskID]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[summary]}"),
        )
        progress = Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=self._console)
        progress.start()
        return progress, progress.add_task(self._about, total=None, summary="")


class Trackers:
    """Experiment trackers through accelerate: `Accelerator(log_with="tensorboard", project_dir=...)`, extra `track`."""

    def __init__(self, accelerator: Accelerator, project: str, config: Mapping[str, Any] | None = None) -> None:
        self._accelerator = accelerator
        accelerator.init_trackers(project, dict(config or {}))

    def log(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        """Hand on to accelerate."""
        self._accelerator.log(dict(values), step=step)

    def close(self) -> None:
        """Finish every tracker."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _summary(values: Mapping[str, float]) -> str:
    return f"loss {values['mean_loss']:.4f}, {values['instances_per_second']:,.0f} instances/s"


def _lines(path: Path, keep_until: int) -> list[str]:
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            break  # cut short by a kill: nothing was written after it
        if step > keep_until:
            break
        kept.append(line)
    return kept
