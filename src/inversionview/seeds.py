"""Seeds: which numbers are some, and the generator that one gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.errors import UserError

if TYPE_CHECKING:
    from torch import Generator

LARGEST = 2**53 - 1
"""What a page in a browser, and JSON read by any program, still holds exactly; torch itself takes some more."""


def checked_seed(seed: int) -> int:
    """The seed itself. Raises `UserError` for what is none."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST:
        raise UserError(f"a seed is a whole number from 0 to {LARGEST}, not {seed}")
    return seed


def seeded(seed: int, step: int | None = None) -> Generator:
    """A generator of a user's seed, or one of each step of a run. Raises `UserError` for what is no seed."""
    from torch import Generator

    number = checked_seed(seed) if step is None else checked_seed(seed) * 1_000_003 + step
    return Generator().manual_seed(number % 2**63)


def mixed(*numbers: int) -> int:
    """One seed for torch of several whole numbers, such as a user's seed and a step."""
    import numpy as np

    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
