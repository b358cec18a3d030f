"""How far long work is, told to whoever asked to be told; they may stop the work by raising.

Whoever asks says `with told(callback)`. What is slow says `with stage("verify", n)` around its loop and `advance(k)`
inside, and knows nobody: a context variable holds who listens, so that nothing deep hands a callback through ten
signatures, and what one thread does is not told to another. Without a listener it costs a look at that variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Progress = Callable[[str, int, int | None, Any], None]
"""Called with the stage, how much of it is done, of how much (None where that is not known), and what was found so far
or None. It is called often, sometimes with nothing new, and should be quick; when it raises, the work ends."""


class _Work:
    """What is being listened to."""

    def __init__(self, progress: Progress, ended: Callable[[], None] | None) -> None:
        self.progress, self.ended = progress, ended
        self.stage, self.done, self.of, self.depth = "", 0, None, 0  # type: tuple[str, int, int | None, int]

    def tell(self, partial: Any = None) -> None:
        self.progress(self.stage, self.done, self.of, partial)


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
    token = _listened.set(None)
    try:
        yield
    finally:
        _listened.reset(token)


@contextmanager
def stage(name: str, of: int | None = None, partial: Any = None) -> Iterator[None]:
    """A part of the work, and how much there is to do in it; `partial` is what was found before it.

    A stage inside a stage is not told of and its steps are not counted: only the outer one knows what they are part of.
    """
    work = _listened.get()
    if work is None:
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
        if work.depth == 0 and work.ended is not None:
            work.ended()


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
