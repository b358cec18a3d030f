"""From what was measured of each query to what is said of a cell."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from inversionview.reading.feature_map import MapCell
from inversionview.results.map import Cell, CellBits, Part

LEAST_MEMBERS = 30
"""Effective members that a query should have in a map from draws, and for an entropy difference."""
MOST_SHORT = 0.1
"""Where more than this share of a cell's queries have fewer, the cell says nothing."""
LEAST_IN_BANK = 3
"""Members that half of the queries should have in a map from a bank, whose score cannot say too much of few."""

Rule = Literal["exact", "draws", "bank"]
"""What a cell is made from."""


class Groups(NamedTuple):
    """The values of a feature in the queries of a cell."""

    values: tuple[str, ...]
    codes: Int[np.ndarray, " query"]


def measured_cell(cell: MapCell, limit: float, rule: Rule, groups: Groups | None, *, constant: bool) -> Cell:
    """What a cell says, its mean over the queries; or why it says nothing."""
    if why_not := _why_not(cell, rule):
        return Cell(
            site=cell.site, at=cell.role, queries=len(cell.size_bits), log2_domain_over_preimage=None, se=None, bits={},
            knows=(), best=None, members=_members(cell, rule), why_not=why_not,
        )  # fmt: skip
    if rule == "draws":
        cell = _with_doubt(cell)
    return Cell(
        site=cell.site,
        at=cell.role,
        queries=len(cell.size_bits),
        log2_domain_over_preimage=float(cell.size_bits.mean()),
        se=_error(cell.size_bits, cell.size_se),
        bits={name: _bits(cell, i, rule) for i, name in enumerate(cell.features)},
        knows=(),
        best=None,
        epsilon=None if constant else limit,
        members=_members(cell, rule),
        by=None if groups is None else _parts(cell, groups, rule),
    )


def _members(cell: MapCell, rule: Rule) -> float | None:
    if cell.effective is None:
        return None
    return float(np.median(cell.effective) if rule == "bank" else cell.effective.min())


def _why_not(cell: MapCell, rule: Rule) -> str:
    if cell.effective is None:
        return ""
    n, few = len(cell.effective), int((cell.effective < LEAST_MEMBERS).sum())
    if rule == "bank":
        members = float(np.median(cell.effective))
        has = (
            f"the query has {members:g} members" if n == 1 else f"half of the queries have at most {members:g} members"
        )
        many = f"{has} in the bank, under {LEAST_IN_BANK}: take more inputs (-n), or widen epsilon"
        return many if members < LEAST_IN_BANK else ""
    # To leave out the queries with few members alone would favour wide preimages.
    if few <= MOST_SHORT * n and np.isfinite(cell.size_bits).all():
        return ""
    of = "the query" if n == 1 else f"{few:,} of {n:,} queries"
    return f"{of} had under {LEAST_MEMBERS} effective members among the draws: draw more, or widen epsilon"


def _bits(cell: MapCell, i: int, rule: Rule) -> CellBits:
    of, apart, scores = float(cell.of[i]), float(cell.divergence[:, i].mean()), cell.scores
    difference = float(cell.bits[:, i].mean())
    assert scores is not None
    score = float(scores[:, i].mean())
    if rule == "exact":
        return CellBits(difference, of, _error(cell.bits[:, i]), apart, log_score=score)
    assert cell.effective is not None
    assert cell.score_se is not None
    assert cell.score_interval is not None
    enough = (cell.effective < LEAST_MEMBERS).mean() <= MOST_SHORT
    low, high = (float(end) for end in cell.score_interval[i])
    return CellBits(score, of, float(cell.score_se[i]), apart, (low, high), difference if enough else None)


def _parts(cell: MapCell, groups: Groups, rule: Rule) -> tuple[Part, ...]:
    """By value, of those that some query has."""
    scores = cell.bits if rule == "exact" else cell.scores
    assert scores is not None
    parts = []
    for code in np.unique(groups.codes):
        rows = groups.codes == code
        bits = {name: float(scores[rows, i].mean()) for i, name in enumerate(cell.features)}
        parts.append(Part(groups.values[code], int(rows.sum()), bits))
    return tuple(parts)


def _error(values: Any, errors: Any = None) -> float | None:
    """Of a mean over queries; the errors of each are counted twice, as draws that all share make them alike."""
    within = 0.0 if errors is None else float((errors**2).mean())
    if len(values) == 1:
        return None if errors is None else math.sqrt(within)
    return math.sqrt((float(np.var(values, ddof=1)) + within) / len(values))


def _with_doubt(cell: MapCell) -> MapCell:
    """Where members are few, the error of a size is not to be trusted: it is one bit at least."""
    assert cell.effective is not None
    assert cell.size_se is not None
    few = cell.effective < LEAST_MEMBERS
    return cell._replace(size_se=np.where(few, np.maximum(cell.size_se, 1.0), cell.size_se))
