"""Where the time of a run goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

PARTS = ("batch", "forward_backward", "optimizer", "after_step", "checkpoint", "log")


class Clock:
    """Adds up wall time in seconds by part, over a run and what it resumes; `last` holds each part's latest block.

    On a GPU, work that is under way when the host moves on is counted where the host next waits for it.
    """

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.last = dict.fromkeys(PARTS, 0.0)
        self._start = perf_counter()

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
