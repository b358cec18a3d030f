"""What patching one run with another's activations does, as plain data, and its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class Effect(TypedDict):
    """Sites patched together, and what that does to the logit difference."""

    sites: list[str]
    """As they were asked for; the one added last at the end. A site's own position follows an @."""
    positions: list[str]
    """Role or index of the position of each."""
    order: str
    """forward, reverse, each or together; empty where the configuration is of no order."""
    patched: float
    """Mean logit difference of the patched run."""
    patched_se: float | None
    drop: float
    """`clean` − `patched`."""
    se: float | None
    """Standard error of the drop, over inputs; None of one input."""


class Patching(TypedDict):
    """The document that `inversionview patch --json` prints.

    Logit differences are logit(clean answer) − logit(contrast answer), where a run predicts its target; means over
    inputs.
    """

    schema: int
    study: str | None
    target: str | None
    at: str | None
    """The position of sites that have none of their own."""
    contrast: str | None
    where: str | None
    contrast_where: str | None
    direction: str
    seed: int | None
    drawn: int | None
    n: int
    """Inputs that are left."""
    left_out: Mapping[str, int]
    """How many of those drawn are not: by `where`, by `contrast` (none was found), or for lack of a `position`."""
    clean: float
    """Of the clean run."""
    clean_se: float | None
    contrast_run: float
    """Of the contrast run: what patching everything would give."""
    contrast_run_se: float | None
    effects: list[Effect]
