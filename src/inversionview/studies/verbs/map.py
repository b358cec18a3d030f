"""The map of a study: what every site knows at every named position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from inversionview.criterion import Criterion, EpsilonRule
from inversionview.errors import UserError
from inversionview.preimage.domain import Domain
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.probed.model import ProbedModel
from inversionview.progress import stage
from inversionview.reading.conditions import holds
from inversionview.reading.feature_map import MapCell, feature_map
from inversionview.reading.sampled_map import sampled_map
from inversionview.results.map import Cell, CellBits, Map, with_best
from inversionview.shapes import Tokens
from inversionview.studies.parts import Parts, checked_sites
from inversionview.studies.settings import MapSettings
from inversionview.tasks.base import Conditional, Task
from inversionview.tasks.positions import eligible_role, last_eligible

LEAST_MEMBERS = 30
"""Effective members that a query should have in a sampled map."""
MOST_SHORT = 0.1
"""Where more than this share of a cell's queries have fewer, the cell says nothing."""
_ROUNDS = 100
"""Batches of random inputs that are drawn for the queries of a map before giving up."""


def make_map(
    parts: Parts,
    criterion: Criterion,
    settings: MapSettings,
    *,
    text: str | None = None,
    domain: Domain | None = None,
) -> Map:
    """What every site knows at every named position; see `Study.map`.

    `domain` says where activations come from, by default from running the model.
    """
    probed, task, epsilon, metric = parts.probed, parts.task, criterion.epsilon, criterion.metric
    queries, where, seed = settings.queries, settings.where, settings.seed
    draws, draws_given = settings.draws, settings.draws_given
    sites = parts.sites if settings.sites is None else checked_sites(parts, settings.sites)
    exact = task.size is not None
    if not exact and (draws < 1 or draws_given < 0):
        raise UserError(f"a map of {task.name} takes at least 1 draw from its prior, and 0 or more given each query")
    if isinstance(epsilon, EpsilonRule) and epsilon.kind == "causal":
        raise UserError("a map takes one epsilon a site: a number or null:P; causal:T is of one query, use it in read")
    if text is not None and where is not None:
        raise UserError("a condition chooses among random inputs: give an input or a condition, not both")
    by_role = _one_input(task, text) if text is not None else _random_queries(task, queries, where, seed)
    limits = _limits(probed, task, sites, list(by_role), criterion=criterion, seed=seed)
    if exact:
        with stage("map", task.size):
            cells = feature_map(probed, task, sites, by_role, epsilon=limits, metric=metric, domain=domain)
    else:
        generator = torch.Generator().manual_seed(seed + 1)  # other draws than those that gave the queries
        cells = sampled_map(
            probed, task, sites, by_role, epsilon=limits, metric=metric, draws=draws, draws_given=draws_given,
            generator=generator,
        )  # fmt: skip
    given = draws_given * len(task.conditions) if isinstance(task, Conditional) else 0
    constant = criterion.constant is not None
    return Map(
        study=parts.name,
        task=task.name,
        input=text,
        where=where,
        epsilon=criterion.constant,
        epsilon_rule=str(epsilon),
        metric=metric,
        position_rule="same",
        queries=1 if text is not None else queries,
        seed=seed,
        exact=exact,
        domain=task.size,
        drawn=None if exact else draws,
        drawn_given=None if exact else given,
        sites=sites,
        ats=tuple(by_role),
        cells=tuple(with_best(_measured(cell, limits[cell.site, cell.role], constant)) for cell in cells),
    )


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
    by_role: dict[str, Tokens] = {}
    for _ in range(_ROUNDS):
        more = task.sample(n, generator=generator)
        more = more if where is None else more[holds(task, where, more, last_eligible(task, more))]
        drawn = torch.cat([drawn, more])
        by_role = {role: drawn[eligible_role(task, drawn, role) >= 0][:n] for role in task.roles}
        if all(len(rows) == n for rows in by_role.values()):
            return by_role
    # A condition may leave out all inputs that have some position, such as A4.
    by_role = {role: rows for role, rows in by_role.items() if len(rows) == n}
    if not by_role:
        raise UserError(f"inputs where {where} are too rare for {n} queries: use fewer, or another condition")
    return by_role


def _limits(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[str],
    roles: Sequence[str],
    *,
    criterion: Criterion,
    seed: int,
) -> Mapping[tuple[str, str], float]:
    """The ε of each cell; a cell where no ε has the null share, since too many inputs are the same there, has none."""
    cells = [(site, role) for site in sites for role in roles]
    epsilon = criterion.epsilon
    if not isinstance(epsilon, EpsilonRule) or epsilon.kind == "constant":
        return dict(zip(cells, criterion.limits([site for site, _ in cells]), strict=True))
    limits: dict[tuple[str, str], float] = {}
    why = None
    for role in roles:
        generator = torch.Generator().manual_seed(seed)
        try:
            calibrated = null_epsilon(
                probed, task, sites, epsilon.value, criterion=criterion, role=role, skip=True, generator=generator
            )
        except UserError as error:
            why = error
            continue
        limits |= {(site, role): one.epsilon for site, one in calibrated.items()}
    if not limits and why is not None:
        raise why
    return limits


def _measured(cell: MapCell, limit: float, constant: bool) -> Cell:
    n = len(cell.size_bits)
    if cell.effective is not None:
        few = cell.effective < LEAST_MEMBERS
        if few.mean() > MOST_SHORT or not np.isfinite(cell.size_bits).all():
            return _unmeasured(cell)
        cell = _with_doubt(cell, few)

    def error(values: Any, errors: Any = None) -> float | None:
        """Of a mean over queries; the errors of each are counted twice, as draws that all share make them alike."""
        within = 0.0 if errors is None else float((errors**2).mean())
        if n == 1:
            return None if errors is None else math.sqrt(within)
        return math.sqrt((float(np.var(values, ddof=1)) + within) / n)

    return Cell(
        site=cell.site,
        at=cell.role,
        queries=n,
        log2_domain_over_preimage=float(cell.size_bits.mean()),
        se=error(cell.size_bits, cell.size_se),
        bits={
            name: CellBits(
                bits=float(cell.bits[:, i].mean()),
                of=float(cell.of[i]),
                se=error(cell.bits[:, i], None if cell.bits_se is None else cell.bits_se[:, i]),
                divergence=float(cell.divergence[:, i].mean()),
            )
            for i, name in enumerate(cell.features)
        },
        knows=(),
        best=None,
        epsilon=None if constant else limit,
        members=None if cell.effective is None else float(cell.effective.min()),
    )


def _with_doubt(cell: MapCell, few: Bool[np.ndarray, " query"]) -> MapCell:
    """Where members are few, their own errors are not to be trusted: half of what there is to know, and one bit."""
    assert cell.bits_se is not None
    assert cell.size_se is not None
    bits_se, size_se = cell.bits_se.copy(), cell.size_se.copy()
    bits_se[few] = np.maximum(bits_se[few], cell.of / 2)
    size_se[few] = np.maximum(size_se[few], 1.0)
    return cell._replace(bits_se=bits_se, size_se=size_se)


def _unmeasured(cell: MapCell) -> Cell:
    """A cell that says nothing, and why; only to leave out the queries with few members would favour wide preimages."""
    assert cell.effective is not None
    n, few = len(cell.effective), int((cell.effective < LEAST_MEMBERS).sum())
    of = "the query" if n == 1 else f"{few:,} of {n:,} queries"
    return Cell(
        site=cell.site,
        at=cell.role,
        queries=n,
        log2_domain_over_preimage=None,
        se=None,
        bits={},
        knows=(),
        best=None,
        members=float(cell.effective.min()),
        why_not=f"{of} had under {LEAST_MEMBERS} effective members among the draws: draw more, or widen epsilon",
    )
