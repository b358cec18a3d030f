"""Imports of large libraries, in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for garbage inside this block: of transformers' import that is a quarter of the time, for none.

    It looks through all objects that there are again and again while more are made, and modules are not thrown away.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def import_models() -> None:
    """Import what all models of transformers need, before the first of them is."""
    with uncollected():
        import_module("transformers.modeling_utils")
