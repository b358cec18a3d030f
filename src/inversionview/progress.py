"""How far long work is, told to whoever asked to be told; they may stop the work by raising.

Whoever asks says `with told(callback)`. What is slow says `with stage("verify", n)` around its loop and `advance(k)`
inside, or `with doing("reading")` around several such, and knows nobody: a context variable holds who listens, so that
nothing deep hands a callback through ten signatures, and what one thread does is not told to another. Without a
listener it costs a look at that variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Progress = Callable[[str, int, int | None, Any], None]
"""Called with the stage, how much of it is done, of how much (None where that is not known), and what was found so far
or None. It is called often, sometimes with nothing new, and should be quick; when it raises, the work ends."""

_MINUTES_FROM = 120
"""Seconds that are told in minutes."""


class _Work:
    """What is being listened to."""

    def __init__(self, progress: Progress, ended: Callable[[], None] | None) -> None:
        self.progress, self.ended = progress, ended
        self.stage, self.done, self.of, self.depth = "", 0, None, 0  # type: tuple[str, int, int | None, int]
        self.whole = ""

    def tell(self, partial: Any = None) -> None:
        if self.whole and not self.depth:
            self.between()
        else:
            self.progress(self.stage, self.done, self.of, partial)

    def between(self) -> None:
        """No stage is under way: what they are part of is, or nothing."""
        if self.whole:
            self.progress(self.whole, 0, None, None)
        elif self.ended is not None:
            self.ended()


_listened: ContextVar[_Work | None] = ContextVar("listened", default=None)


@contextmanager
def told(progress: Progress | None, *, ended: Callable[[], None] | None = None) -> Iterator[None]:
    """Tell `progress` how far the work of this block is; None changes nothing, so that who listened still does.

    `ended` is called when a stage is over, or stopped.
    """
    if progress is None:
        yield
        return
    token = _listened.set(_Work(progress, ended))
    try:
        yield
    finally:
        _listened.reset(token)


@contextmanager
def untold() -> Iterator[None]:
    """Tell nobody of the work of this block, which is told of in another way."""
    work = _listened.get()
    if work is not None and work.ended is not None:
        work.ended()
    token = _listened.set(None)
    try:
        yield
    finally:
        _listened.reset(token)
        if work is not None and not work.depth:
            work.between()


@contextmanager
def doing(name: str) -> Iterator[None]:
    """What the stages of this block are part of: told before, between and after them."""
    work = _listened.get()
    if work is None or work.depth:
        yield
        return
    before, work.whole = work.whole, name
    work.between()
    try:
        yield
    finally:
        work.whole = before
        work.between()


@contextmanager
def stage(name: str, of: int | None = None, partial: Any = None) -> Iterator[None]:
    """A part of the work, and how much there is to do in it; `partial` is what was found before it.

    A stage inside a stage is not told of and its steps are not counted: only the outer one knows what they are part of.
    One inside a stage of the same name is a part of it, and its steps are.
    """
    work = _listened.get()
    if work is None or (work.depth == 1 and work.stage == name):
        yield
        return
    work.depth += 1
    try:
        if work.depth == 1:
            work.stage, work.done, work.of = name, 0, of
            work.tell(partial)
        yield
    finally:
        work.depth -= 1
        if work.depth == 0:
            work.between()


def advance(n: int) -> None:
    """So much more of the stage is done."""
    work = _listened.get()
    if work is not None:
        if work.depth == 1:
            work.done += n
        work.tell()


def still_wanted() -> None:
    """Give who listens a chance to end the work, where it takes long without getting any further."""
    work = _listened.get()
    if work is not None:
        work.tell()


def span(seconds: float) -> str:
    """A time as one says it."""
    return f"{seconds:,.0f} s" if seconds < _MINUTES_FROM else f"{seconds / 60:,.0f} min"
