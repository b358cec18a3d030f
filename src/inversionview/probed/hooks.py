"""Reading and replacing tensors inside a forward of somebody else's module, with nothing left behind."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inversionview.errors import UserError

Edit = Callable[[Tensor], Tensor | None]
"""Gets the tensor at a point; returns its replacement, or None to leave it as it is."""


class Point(NamedTuple):
    """The first argument of a module (`before`), or its output, of which the first where it is a tuple."""

    module: nn.Module
    before: bool


class Stop(BaseException):
    """Raised by an edit that needs nothing more of the forward; no `except Exception` on the way eats it."""


@contextmanager
def editing(edits: Iterable[tuple[Point, Edit]], batch: int) -> Iterator[None]:
    """Apply edits to the forwards of `batch` inputs that this thread runs inside the block, which ends on `Stop`.

    Forwards of the same modules in other threads are neither read, changed nor stopped. What a model has as
    `[batch * pos, width]` (OPT's MLP) is seen as `[batch, pos, width]`. Raises UserError when a forward ended and
    passed an edit by, as one that was compiled or replaced would.
    """
    wanted = list(edits)
    here, waiting = _Forward(threading.get_ident(), batch), set(range(len(wanted)))
    handles: list[RemovableHandle] = []
    try:
        for number, (point, edit) in enumerate(wanted):
            handles.append(_register(point, edit, here, partial(waiting.discard, number)))
        yield
        if waiting:
            missed = wanted[min(waiting)][0].module
            raise UserError(
                f"a forward of this model does not come by its {type(missed).__name__}, so nothing can be read or "
                "replaced there: give the model as it was before it was compiled or changed"
            )
    except Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()


class _Forward(NamedTuple):
    thread: int
    batch: int


def _register(point: Point, edit: Edit, here: _Forward, seen: Callable[[], None]) -> RemovableHandle:
    def edited(tensor: Tensor) -> Tensor | None:
        seen()
        if tensor.dim() > 2:
            return edit(tensor)
        new = edit(tensor.view(here.batch, -1, tensor.shape[-1]))
        return None if new is None else new.reshape(tensor.shape)

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if threading.get_ident() != here.thread:
            return None
        new = edited(args[0])
        return None if new is None else (new, *args[1:])

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if threading.get_ident() != here.thread:
            return None
        if not isinstance(output, tuple):
            return edited(output)
        new = edited(output[0])
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


_products: ContextVar[torch.dtype] = ContextVar("_products", default=torch.float32)


@contextmanager
def products_in(dtype: torch.dtype) -> Iterator[None]:
    """Let matrix products of probed models that run here be in `dtype`; the residual stream stays as it is.

    For activations that are trained on: what decides membership is never computed so.
    """
    before = _products.set(dtype)
    try:
        yield
    finally:
        _products.reset(before)


@contextmanager
def as_in_evaluation(modules: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """No gradients, no dropout, autocast as `products_in` says; each module's training flag comes back afterwards."""
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        dtype = _products.get()
        fast = dtype != torch.float32
        with torch.no_grad(), torch.autocast(device.type, dtype=dtype if fast else None, enabled=fast):
            yield
    finally:
        for module in training:
            module.training = True


_eager_lock = threading.Lock()
_eager_blocks = 0
_stance: Any = None


@contextmanager
def eagerly() -> Iterator[None]:
    """Run what was compiled as it is written: compiled code passes by the hooks that were not there when it was made.

    PyTorch has one such setting for all threads, so the first of several blocks sets it and the last takes it back.
    """
    global _eager_blocks, _stance
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and to import it takes seconds
        yield
        return
    with _eager_lock:
        _eager_blocks += 1
        if _eager_blocks == 1:
            _stance = torch.compiler.set_stance("force_eager")
    try:
        yield
    finally:
        with _eager_lock:
            _eager_blocks -= 1
            if _eager_blocks == 0:
                _stance.__exit__(None, None, None)


_locks: WeakKeyDictionary[nn.Module, threading.Lock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


def lock_of(module: nn.Module) -> threading.Lock:
    """The one lock of this module, whoever asks: two readers of one model must not mix their training flags."""
    with _locks_lock:
        return _locks.setdefault(module, threading.Lock())
