"""What a command does and how far it is, on standard error, from its first moment."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import click

from inversionview.imports import uncollected
from inversionview.progress import doing, span, told

IMPORTING = "loading torch"
MODULES = 1350
"""How many modules are there when that is done: those that are there already tell how far it is."""
STAGES = {
    "propose": "drawing candidates",
    "verify": "running them through the model",
    "color": "asking the decoder about each token",
    "weigh": "weighing them",
    "scan": "running all inputs of the domain",
    "look around": "looking around each query",
    "epsilon": "choosing ε",
    "map": "measuring cells",
    "test": "testing",
    "patch": "patching activations",
    "bank": "running the bank's inputs",
}
"""What is said of a stage that has a name of one word; of any other its name."""
SILENT = 10.0
"""Seconds of a command before anything is said, where it is not in a terminal; in one it speaks at once."""
_EVERY = {True: 0.5, False: 10.0}
"""Seconds between two times that it is said, in a terminal and not."""
_LOOK = 0.25


@contextmanager
def telling() -> Iterator[None]:
    """Tell on standard error how far the stages of this block are: one line in a terminal, else a line now and then."""
    if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        yield
        return
    line, over = _Line(), threading.Event()
    warnings, package = _Warnings(line), logging.getLogger("inversionview")
    thread = threading.Thread(target=line.watch, args=(over,), daemon=True)
    thread.start()
    package.addHandler(warnings)
    try:
        with told(line.hear, ended=line.clear):
            yield
    finally:
        over.set()
        thread.join()
        package.removeHandler(warnings)


@contextmanager
def importing() -> Iterator[None]:
    """The stage in which modules are imported, which takes seconds."""
    with doing(IMPORTING), uncollected():
        yield


class _Line:
    """What is said last, and when there is more to say; said by a thread of its own, since a stage may be one call."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stage, self._done, self._of = "", 0, None  # type: tuple[str, int, int | None]
        self._is_terminal = sys.stderr.isatty()
        self._begun = self._since = monotonic()
        self._next = self._begun + (0.0 if self._is_terminal else SILENT)
        self._modules = len(sys.modules)
        self._has_spoken = self._is_shown = False

    def hear(self, stage: str, done: int, of: int | None, partial: Any) -> None:
        if stage != self._stage or done < self._done:
            self._since, self._modules = monotonic(), len(sys.modules)
        self._stage, self._done, self._of = stage, done, of
        if self._is_terminal and not self._has_spoken:  # before what is imported next keeps the thread from speaking
            with self._lock:
                self._say()

    def clear(self) -> None:
        with self._lock:
            self._stage = ""
            self.wipe()

    def wipe(self) -> None:
        """Make room for what others say."""
        with self._lock:
            if self._is_shown:
                click.echo("\r\x1b[K", nl=False, err=True)
                self._is_shown = False

    def watch(self, over: threading.Event) -> None:
        while not over.wait(_LOOK):
            with self._lock:
                if self._stage and monotonic() >= self._next:
                    self._say()

    def _say(self) -> None:
        self._next = monotonic() + _EVERY[self._is_terminal]
        self._has_spoken = True
        if self._is_terminal:
            click.echo(f"\r{self._words(_columns() - 1)}\x1b[K", nl=False, err=True)
            self._is_shown = True
        else:
            click.echo(self._words(), err=True)

    def _words(self, width: int = 200) -> str:
        """The stage, how much of it is done, the time since the command began, and what the stage will still take.

        No wider than asked for, and the numbers last of all that is cut.
        """
        now, done, of, begun = monotonic(), self._done, self._of, 0
        name, said = STAGES.get(self._stage, self._stage), ""
        if self._stage == IMPORTING:
            done, of, begun = len(sys.modules), MODULES, self._modules
            said += f", {min(done / of, 1):.0%}"
        elif of:
            said += f": {min(done, of):,} of {of:,}"
        elif done:
            said += f": {done:,}"
        said += f", {span(now - self._begun)}"
        if of and begun < done < of:
            said += f", about {span((now - self._since) * (of - done) / (done - begun))} left"
        room = max(1, width - len(said))
        return ((name if len(name) <= room else f"{name[: room - 1]}…") + said)[:width]


class _Warnings(logging.Handler):
    """What the package warns of, on a line of its own."""

    def __init__(self, line: _Line) -> None:
        super().__init__(logging.WARNING)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.wipe()
        click.echo(self.format(record), err=True)


def _columns() -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80
