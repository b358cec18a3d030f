"""Reading and replacing tensors inside a forward of somebody else's module, with nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Edit = Callable[[Tensor], Tensor | None]
"""Gets the tensor at a point; returns its replacement, or None to leave it as it is."""


class Point(NamedTuple):
    """The first argument of a module (`before`), or its output, of which the first where it is a tuple."""

    module: nn.Module
    before: bool


class Stop(BaseException):
    """Raised by an edit that needs nothing more of the forward; no `except Exception` on the way eats it."""


@contextmanager
def editing(edits: Iterable[tuple[Point, Edit]]) -> Iterator[None]:
    """Apply edits to the forwards that this thread runs inside the block, and stop the block on `Stop`.

    Forwards of the same modules in other threads are neither read, changed nor stopped.
    """
    thread = threading.get_ident()
    handles: list[RemovableHandle] = []
    try:
        handles.extend(_register(point, edit, thread) for point, edit in edits)
        yield
    except Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _register(point: Point, edit: Edit, thread: int) -> RemovableHandle:
    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if threading.get_ident() != thread:
            return None
        new = edit(args[0])
        return None if new is None else (new, *args[1:])

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if threading.get_ident() != thread:
            return None
        if not isinstance(output, tuple):
            return edit(output)
        new = edit(output[0])
        return None if new is None else (new, *output[1:])

    if point.before:
        return point.module.register_forward_pre_hook(before)
    return point.module.register_forward_hook(after)


@contextmanager
def arguments_of(
    modules: Sequence[nn.Module], see: Callable[[int, tuple[Any, ...], dict[str, Any]], None]
) -> Iterator[None]:
    """Show `see` what this thread's forward hands to each of `modules`, by its index; the last one ends the block."""
    thread = threading.get_ident()
    missing = set(range(len(modules)))

    def taking(index: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() != thread:
                return
            see(index, args, kwargs)
            missing.discard(index)
            if not missing:
                raise Stop

        return take

    handles = [module.register_forward_pre_hook(taking(i), with_kwargs=True) for i, module in enumerate(modules)]
    try:
        yield
    except Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def as_in_evaluation(modules: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """No gradients, no autocast, no dropout; each module's own training flag comes back afterwards."""
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for module in training:
            module.training = True


_locks: WeakKeyDictionary[nn.Module, threading.Lock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


def lock_of(module: nn.Module) -> threading.Lock:
    """The one lock of this module, whoever asks: two readers of one model must not mix their training flags."""
    with _locks_lock:
        return _locks.setdefault(module, threading.Lock())
