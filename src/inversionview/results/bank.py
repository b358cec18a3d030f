"""What a bank holds, and what it took to make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inversionview.results import convert


@dataclass(frozen=True)
class BankSummary:
    """A bank that was made."""

    study: str
    folder: str | None
    """None for one in memory."""
    inputs: int
    """Draws from the prior, repeats too."""
    runs: int
    """Distinct inputs, each up to the last position that is kept, which were run once each."""
    sites: tuple[str, ...]
    ats: tuple[str, ...]
    split: str
    seed: int
    bytes: int
    """Of all activations."""
    seconds: float
    """Of the whole call; of one that went on, of what was left."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return convert.document(self)
