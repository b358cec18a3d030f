"""Ctrl-C and SIGTERM end a run at the next step instead of in the middle of one."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

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
    before: dict[int, Any] = {}

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
