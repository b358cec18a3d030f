"""The map of a study: what every site knows at every named position, as the document that is printed and drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from inversionview.errors import UserError
from inversionview.preimage.domain import Domain, checked_enumerable
from inversionview.preimage.epsilon import EpsilonRule
from inversionview.preimage.matching import eligible_role
from inversionview.preimage.null_epsilon import null_epsilon
from inversionview.probed.model import ProbedModel
from inversionview.reading.conditions import holds
from inversionview.reading.feature_map import MapCell, feature_map
from inversionview.reading.information import last_eligible
from inversionview.report.map import Map, Measured, with_best
from inversionview.shapes import Tokens
from inversionview.tasks.base import Task

_ROUNDS = 100
"""Batches of random inputs that are drawn for the queries of a map before giving up."""


def make_map(
    study: str,
    probed: ProbedModel,
    task: Task,
    sites: Sequence[str],
    *,
    text: str | None,
    queries: int,
    where: str | None,
    epsilon: EpsilonRule,
    metric: str,
    seed: int,
    domain: Domain | None = None,
) -> Map:
    """The document of `inversionview map --json`; see `Study.map`."""
    checked_enumerable(task)
    if epsilon.kind == "causal":
        raise UserError("a map takes one epsilon a site: a number or null:P; causal:T is of one query, use it in read")
    if text is not None and where is not None:
        raise UserError("a condition chooses among random inputs: give an input or a condition, not both")
    by_role = _one_input(task, text) if text is not None else _random_queries(task, queries, where, seed)
    limits = _limits(probed, task, sites, list(by_role), epsilon, metric, seed)
    cells = feature_map(probed, task, sites, by_role, epsilon=limits, metric=metric, domain=domain)
    return {
        "schema": 1,
        "study": study,
        "task": task.name,
        "input": text,
        "where": where,
        "epsilon": epsilon.value if epsilon.kind == "constant" else None,
        "epsilon_rule": str(epsilon),
        "metric": metric,  # type: ignore[typeddict-item]
        "position_rule": "same",
        "queries": 1 if text is not None else queries,
        "seed": seed,
        "exact": True,
        "domain": task.size,
        "sites": list(sites),
        "ats": list(by_role),
        "cells": [with_best(_measured(cell, limits[cell.site, cell.role], epsilon)) for cell in cells],
    }


def _one_input(task: Task, text: str) -> dict[str, Tokens]:
    tokens = task.encode(text)[None]
    wide = torch.full((1, task.max_length), task.pad)
    wide[:, : tokens.shape[1]] = tokens
    return {role: wide for role in task.roles if int(eligible_role(task, wide, role)[0]) >= 0}


def _random_queries(task: Task, n: int, where: str | None, seed: int) -> dict[str, Tokens]:
    """The first `n` of the same random inputs for every role that they have; only those that meet the condition."""
    if n < 2:
        raise UserError(f"a map needs at least 2 queries a cell for its standard errors, not {n}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(0, task.max_length, dtype=torch.long)
    found: dict[str, Tokens] = {}
    for _ in range(_ROUNDS):
        more = task.sample(n, generator=generator)
        more = more if where is None else more[holds(task, where, more, last_eligible(task, more))]
        drawn = torch.cat([drawn, more])
        found = {role: drawn[eligible_role(task, drawn, role) >= 0][:n] for role in task.roles}
        if all(len(rows) == n for rows in found.values()):
            return found
    # A condition may leave out all inputs that have some position, such as A4.
    found = {role: rows for role, rows in found.items() if len(rows) == n}
    if not found:
        raise UserError(f"inputs where {where} are too rare for {n} queries: use fewer, or another condition")
    return found


def _limits(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[str],
    roles: Sequence[str],
    epsilon: EpsilonRule,
    metric: str,
    seed: int,
) -> Mapping[tuple[str, str], float]:
    """The ε of each cell; a cell where no ε has the null share, since too many inputs are the same there, has none."""
    cells = [(site, role) for site in sites for role in roles]
    if epsilon.kind == "constant":
        return dict.fromkeys(cells, epsilon.value)
    found: dict[tuple[str, str], float] = {}
    why = None
    for role in roles:
        generator = torch.Generator().manual_seed(seed)
        try:
            calibrated = null_epsilon(
                probed, task, sites, epsilon.value, metric=metric, role=role, skip=True, generator=generator
            )
        except UserError as error:
            why = error
            continue
        found |= {(site, role): one.epsilon for site, one in calibrated.items()}
    if not found and why is not None:
        raise why
    return found


def _measured(cell: MapCell, limit: float, epsilon: EpsilonRule) -> Measured:
    n = len(cell.size_bits)

    def error(values: Any) -> float | None:
        return float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None

    found: Measured = {
        "site": cell.site,
        "at": cell.role,
        "queries": n,
        "log2_domain_over_preimage": float(cell.size_bits.mean()),
        "se": error(cell.size_bits),
        "bits": {
            name: {
                "bits": float(cell.bits[:, i].mean()),
                "of": float(cell.of[i]),
                "se": error(cell.bits[:, i]),
                "divergence": float(cell.divergence[:, i].mean()),
            }
            for i, name in enumerate(cell.features)
        },
    }
    if epsilon.kind != "constant":
        found["epsilon"] = limit
    return found
