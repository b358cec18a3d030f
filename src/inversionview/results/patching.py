"""What it does to a run to put activations of another run into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inversionview.results import convert, show

Direction = Literal["contrast-into-clean", "clean-into-contrast"]
"""Which run's activations go into which."""
Order = Literal["forward", "reverse", "both", "each", "together"]
"""One site more each time, forward or in reverse; or one at a time; or all at once."""
Replacement = Literal["mean", "resample"]
"""What an ablated activation gives way to: the mean over other inputs, or one of theirs."""


@dataclass(frozen=True)
class Effect:
    """Sites patched together, and what that does to the logit difference."""

    sites: Sequence[str]
    """As they were asked for, the one added last at the end; a position of its own follows an @."""
    positions: Sequence[str]
    """Role or index of the position of each."""
    order: str
    """forward, reverse, each or together; empty where the sites are of no order."""
    patched: float
    """Mean logit difference of the patched run."""
    patched_se: float | None
    drop: float
    """`clean` − `patched`."""
    se: float | None
    """Standard error of the drop over inputs; None of one input."""


@dataclass(frozen=True)
class Patching(show.Drawn):
    """What patching does to the logit difference.

    Logit differences are logit(clean answer) − logit(contrast answer) where a run predicts its target, and means over
    inputs.
    """

    study: str | None
    target: str | None
    at: str | None
    """The position of sites that have none of their own."""
    contrast: str | None
    """How contrast inputs were made: `change:F1,S1`, `random` or `flip`."""
    where: str | None
    contrast_where: str | None
    direction: str
    seed: int | None
    drawn: int | None
    """Clean inputs that were drawn."""
    n: int
    """Those that are left."""
    left_out: Mapping[str, int]
    """Those that are not: by `where`, by `contrast` (none was found), or for lack of a `position`."""
    clean: float
    """Of the clean run."""
    clean_se: float | None
    contrast_run: float
    """Of the contrast run: what patching everything would give."""
    contrast_run_se: float | None
    effects: Sequence[Effect]

    def __repr__(self) -> str:
        of = f" of {self.study}" if self.study else ""
        done = f"{len(self.effects):,} configurations, {self.direction}, {self.n:,} pairs"
        return (
            f"<Patching{of}: {done}; logit difference {self.clean:.3g} clean, {self.contrast_run:.3g} in the contrast>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview patch --json` prints."""
        return convert.document(self)
