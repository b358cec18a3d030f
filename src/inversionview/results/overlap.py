"""Which inputs two preimages share, and which only one of them has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inversionview.results import convert
from inversionview.results.estimates import Patterns


@dataclass(frozen=True)
class Part:
    """Members of both preimages, or of one of them alone."""

    name: str
    """`both`, `first` or `second`."""
    members: int
    """Those that were found."""
    shares: tuple[float | None, float | None]
    """Of the first and of the second preimage, by weight; None for the one that they are not in."""
    patterns: Patterns = field(default_factory=Patterns)
    examples: tuple[str, ...] = ()
    """Drawn by weight."""


@dataclass(frozen=True)
class Overlap:
    """The members of two preimages, each of them run through the model at both places."""

    parts: tuple[Part, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return convert.document(self)
