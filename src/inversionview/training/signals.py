"""Ctrl-C and SIGTERM end a run at the next step instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Whether to stop; becomes true, and stays so."""

    requested = False

    def __bool__(self) -> bool:
        return self.requested


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM in the `Stop` that is given; a second one acts as it would have without this.

    The handlers from before are back when the block ends. Outside the main thread, where Python allows no handlers,
    nothing is noted.
    """
    stop = Stop()
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if stop:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        stop.requested = True

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
