"""What checks the shapes of arrays while the tests run; `conftest` hands it to jaxtyping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments and results that are annotated with shapes, and no others.

    Those are for the type checker; some are protocols, or names imported for it alone, that cannot be checked here.
    """
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if _speaks_of_arrays(hint)}
    return beartype(function) if function.__annotations__ else function


def _speaks_of_arrays(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_speaks_of_arrays(part) for part in get_args(hint))
