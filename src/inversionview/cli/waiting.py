"""How far a command is, on standard error, where it takes long."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import click

from inversionview.progress import told

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
SILENT = 2.0
"""Seconds of a stage before anything is said of it."""
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
    thread = threading.Thread(target=line.watch, args=(over,), daemon=True)
    thread.start()
    try:
        with told(line.hear, ended=line.clear):
            yield
    finally:
        over.set()
        thread.join()


class _Line:
    """What is said last, and when there is more to say; said by a thread of its own, since a stage may be one call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stage, self._done, self._of = "", 0, None  # type: tuple[str, int, int | None]
        self._since = self._next = 0.0
        self._is_shown = False

    def hear(self, stage: str, done: int, of: int | None, partial: Any) -> None:
        if stage and not self._stage:
            self._since = monotonic()
            self._next = self._since + SILENT
        self._done, self._of = done, of
        self._stage = stage

    def clear(self) -> None:
        with self._lock:
            self._stage = ""
            if self._is_shown:
                click.echo("\r\x1b[K", nl=False, err=True)
                self._is_shown = False

    def watch(self, over: threading.Event) -> None:
        while not over.wait(_LOOK):
            with self._lock:
                if self._stage and monotonic() >= self._next:
                    self._say()

    def _say(self) -> None:
        is_terminal = sys.stderr.isatty()
        self._next = monotonic() + _EVERY[is_terminal]
        if is_terminal:
            click.echo(f"\r{self._words()}\x1b[K", nl=False, err=True)
            self._is_shown = True
        else:
            click.echo(self._words(), err=True)

    def _words(self) -> str:
        spent, done, of = monotonic() - self._since, self._done, self._of
        said = STAGES.get(self._stage, self._stage)
        if of:
            said += f": {min(done, of):,} of {of:,}"
        elif done:
            said += f": {done:,}"
        said += f", {spent:,.0f} s"
        if of and 0 < done < of:
            said += f", about {spent * (of - done) / done:,.0f} s left"
        return said
