"""The map of a study: what every site knows at every named position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from inversionview.bank.bank import Bank
from inversionview.bank.folder import load_bank
from inversionview.criterion import Criterion, EpsilonRule
from inversionview.errors import UserError
from inversionview.preimage.domain import Domain
from inversionview.preimage.epsilon.null import CHOOSING, PAIRS, bank_epsilon, check_share, null_epsilon
from inversionview.preimage.rounding import cell_floors
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.reading.bank_map import BankQueries, bank_map, bank_rows, own_input
from inversionview.reading.conditions import checked_condition, holds
from inversionview.reading.feature_map import MapCell, feature_map
from inversionview.reading.information import chosen_features, codes_of
from inversionview.reading.sampled_map import DRAWS, sampled_map
from inversionview.results.map import Map, with_best
from inversionview.shapes import OneInput, Tokens
from inversionview.studies.banks import bank_for
from inversionview.studies.parts import Parts, checked_sites, counts_all
from inversionview.studies.settings import MapSettings
from inversionview.studies.verbs.map_cells import Groups, Rule, measured_cell
from inversionview.tasks.base import Conditional, Task
from inversionview.tasks.positions import check_role, eligible_role, last_eligible

QUERIES, QUERIES_OF_BANK = 100, 200
"""A cell, where no other number is asked for."""
_ROUNDS = 100
"""Batches of random inputs that are drawn for the queries of a map before giving up."""


class _Made(NamedTuple):
    """What was measured, by which rule, and of how many inputs."""

    cells: list[MapCell]
    limits: Mapping[tuple[str, str], float]
    rule: Rule
    tokens: Mapping[str, Tokens]
    """The queries of each role."""
    bank: int | None = None
    drawn: int | None = None
    drawn_given: int | None = None


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
    task = parts.task
    _check(task, criterion, settings, text)
    chosen = parts.sites if settings.sites is None else checked_sites(parts, settings.sites)
    if settings.bank is not None or _takes_bank(parts, settings):
        made = _from_bank(parts, criterion, settings, chosen, text)
    elif counts_all(parts):
        made = _exact(parts, criterion, settings, chosen, text, domain=domain)
    else:
        made = _from_draws(parts, criterion, settings, chosen, text)
    constant = criterion.constant is not None
    groups = {role: _groups(task, settings.by, rows, role) for role, rows in made.tokens.items()}
    cells = (
        measured_cell(cell, made.limits[cell.site, cell.role], made.rule, groups[cell.role], constant=constant)
        for cell in made.cells
    )
    sites = tuple(dict.fromkeys(cell.site for cell in made.cells)) if settings.bank is not None else chosen
    return Map(
        study=parts.name,
        task=task.name,
        input=text,
        where=settings.where,
        epsilon=criterion.constant,
        epsilon_rule=str(criterion.epsilon),
        metric=criterion.metric,
        position_rule="same",
        queries=1 if text is not None else max(map(len, made.tokens.values())),
        seed=settings.seed,
        exact=made.rule == "exact",
        domain=task.size,
        drawn=made.drawn,
        drawn_given=made.drawn_given,
        sites=sites,
        ats=tuple(made.tokens),
        cells=tuple(map(with_best, cells)),
        estimator="entropy difference" if made.rule == "exact" else "log score",
        bank=made.bank,
        by=settings.by,
        warning=_warning(parts, criterion, made.limits),
        site_notes=_site_notes(parts.probed, sites),
    )


def _warning(parts: Parts, criterion: Criterion, limits: Mapping[tuple[str, str], float]) -> str | None:
    """Where ε is below what the model's half precision tells; a null quantile never is."""
    if isinstance(criterion.epsilon, EpsilonRule) and criterion.epsilon.kind == "null":
        return None
    floors = cell_floors(parts.probed, parts.task, limits, metric=criterion.metric)
    below = {cell: floor for cell, floor in floors.items() if limits[cell] < floor}
    if not below:
        return None
    site, role = worst = max(below, key=lambda cell: below[cell])
    return (
        f"in {len(below):,} of {len(limits):,} cells ε is below the distance by which half precision sets one input "
        f"apart from itself, most at {site} at {role}: {limits[worst]:g} and {below[worst]:.3g}. Members may be "
        "missing there, so run the model in float32, or take a larger ε"
    )


def _site_notes(probed: ProbedModel, sites: Sequence[str]) -> tuple[str, ...] | None:
    """Of each kind of site the note of the first one that has any, which says how it is with the others."""
    notes: dict[str, str] = {}
    for site in map(probed.site, sites):
        if note := probed.note(site):
            notes.setdefault(site.kind, f"{site}: {note}.")
    return tuple(notes.values()) or None


def _check(task: Task, criterion: Criterion, settings: MapSettings, text: str | None) -> None:
    rule = criterion.epsilon
    if (settings.draws is not None and settings.draws < 1) or settings.draws_given < 0:
        raise UserError(f"a map of {task.name} takes at least 1 draw from its prior, and 0 or more given each query")
    if isinstance(rule, EpsilonRule) and rule.kind == "causal":
        raise UserError("a map takes one epsilon a site: a number or null:P; causal:T is of one query, use it in read")
    if text is not None and settings.where is not None:
        raise UserError("a condition chooses among random inputs: give an input or a condition, not both")
    if settings.queries is not None and settings.queries < 2:
        raise UserError(f"a map needs at least 2 queries a cell for its standard errors, not {settings.queries}")
    if settings.by is not None:
        chosen_features(task, [settings.by])
    if settings.where is not None:
        checked_condition(task, settings.where)
    if isinstance(rule, EpsilonRule) and rule.kind == "null":
        check_share(rule.value)
    for role in settings.at or ():
        check_role(task, role)


def _takes_bank(parts: Parts, settings: MapSettings) -> bool:
    """Whether a map is made from a bank: where one is asked for, or neither counting nor drawing is better."""
    size = parts.task.size
    if size is not None and counts_all(parts):
        return settings.n is not None and size > settings.n
    return settings.draws is None and (settings.n is not None or not isinstance(parts.task, Conditional))


def _exact(
    parts: Parts, criterion: Criterion, settings: MapSettings, sites: Sequence[str], text: str | None, *,
    domain: Domain | None,
) -> _Made:  # fmt: skip
    task = parts.task
    by_role = _queries(task, settings, text)
    limits = _limits(parts.probed, task, sites, list(by_role), criterion=criterion, seed=settings.seed)
    with stage("map", task.size):
        cells = feature_map(parts.probed, task, sites, by_role, epsilon=limits, metric=criterion.metric, domain=domain)
    return _Made(cells, limits, "exact", by_role)


def _from_draws(
    parts: Parts, criterion: Criterion, settings: MapSettings, sites: Sequence[str], text: str | None
) -> _Made:
    task, draws, given = parts.task, DRAWS if settings.draws is None else settings.draws, settings.draws_given
    by_role = _queries(task, settings, text)
    limits = _limits(parts.probed, task, sites, list(by_role), criterion=criterion, seed=settings.seed)
    generator = torch.Generator().manual_seed(settings.seed + 1)  # other draws than those that gave the queries
    cells = sampled_map(
        parts.probed, task, sites, by_role, epsilon=limits, metric=criterion.metric, draws=draws, draws_given=given,
        generator=generator,
    )  # fmt: skip
    conditions = len(task.conditions) if isinstance(task, Conditional) else 0
    return _Made(cells, limits, "draws", by_role, drawn=draws, drawn_given=given * conditions)


def _from_bank(
    parts: Parts, criterion: Criterion, settings: MapSettings, chosen: Sequence[str], text: str | None
) -> _Made:
    probed, task = parts.probed, parts.task
    own = None if text is None else task.encode(text)
    sites = [probed.site(site) for site in chosen]
    roles = settings.at or (task.roles if own is None else _roles_of(task, own))
    kept = None if settings.bank is None else load_bank(settings.bank, probed, task)
    if kept is not None:  # where nothing is asked for, what it holds
        sites = [site for site in sites if site in kept.sites] if settings.sites is None else sites
        roles = tuple(role for role in roles if role in kept.roles) if settings.at is None else roles
    bank = kept or bank_for(parts, sites, roles, n=settings.n, seed=settings.seed)
    if own is None:
        queries = _rows_of_bank(bank, task, roles, settings)
    else:
        places = {role: int(task.position_of(own[None], role)[0]) for role in roles}
        queries = {role: own_input(bank, probed, own, place, sites) for role, place in places.items()}
    cells = [(site, role) for site in sites for role in queries]
    rule = criterion.epsilon
    if isinstance(rule, EpsilonRule) and rule.kind == "null":
        metric, least = criterion.metric, cell_floors(probed, task, cells, metric=criterion.metric)
        by_cell = bank_epsilon(bank, cells, rule.value, metric=metric, skip=True, least=least, seed=settings.seed)
        limits = {cell: one.epsilon for cell, one in by_cell.items()}
    else:
        names = [(str(site), role) for site, role in cells]
        limits = dict(zip(names, criterion.limits([site for site, _ in names]), strict=True))
    made = bank_map(bank, task, sites, queries, epsilon=limits, metric=criterion.metric)
    tokens = {role: asked.tokens for role, asked in queries.items()}
    return _Made(made, limits, "bank", tokens, bank=len(bank.tokens))


def _rows_of_bank(bank: Bank, task: Task, roles: Sequence[str], settings: MapSettings) -> dict[str, BankQueries]:
    """Random inputs of the bank that meet the condition: of one order the first that have each role."""
    tokens, where = bank.tokens, settings.where
    meet = torch.ones(len(tokens), dtype=torch.bool)
    if where is not None:
        meet = holds(task, where, tokens, last_eligible(task, tokens))
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(settings.seed))
    n = settings.queries or QUERIES_OF_BANK
    rows = {role: order[(meet & (bank.positions(role) >= 0))[order]][:n] for role in roles}
    rows = {role: some for role, some in rows.items() if len(some) >= 2}
    if not rows:
        which = f"where {where} " if where is not None else ""
        raise UserError(f"of {len(tokens):,} inputs in the bank, under 2 {which}have a position {' '.join(roles)}")
    return {role: bank_rows(bank, role, some) for role, some in rows.items()}


def _groups(task: Task, by: str | None, tokens: Tokens, role: str) -> Groups | None:
    """The values of a feature in the queries of a role."""
    if by is None:
        return None
    [feature] = chosen_features(task, [by])
    return Groups(feature.values, codes_of([feature], tokens, eligible_role(task, tokens, role))[0])


def _queries(task: Task, settings: MapSettings, text: str | None) -> dict[str, Tokens]:
    if text is not None:
        return _one_input(task, text, settings.at)
    return _random_queries(task, settings.queries or QUERIES, settings.where, settings.seed, settings.at or task.roles)


def _roles_of(task: Task, row: OneInput) -> tuple[str, ...]:
    return tuple(role for role in task.roles if int(eligible_role(task, row[None], role)[0]) >= 0)


def _one_input(task: Task, text: str, at: Sequence[str] | None) -> dict[str, Tokens]:
    tokens = task.encode(text)[None]
    wide = torch.full((1, task.max_length), task.pad)
    wide[:, : tokens.shape[1]] = tokens
    lacking = [role for role in at or () if int(eligible_role(task, wide, role)[0]) < 0]
    if lacking:
        raise UserError(f"{text!r} has no position {lacking[0]!r} that may be read")
    return dict.fromkeys(at or _roles_of(task, wide[0]), wide)


def _random_queries(task: Task, n: int, where: str | None, seed: int, roles: Sequence[str]) -> dict[str, Tokens]:
    """The first `n` of the same random inputs for every role that they have; only those that meet the condition."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(0, task.max_length, dtype=torch.long)
    by_role: dict[str, Tokens] = {}
    with stage("drawing inputs to read", n):
        for _ in range(_ROUNDS):
            more = task.sample(n, generator=generator)
            more = more if where is None else more[holds(task, where, more, last_eligible(task, more))]
            drawn, before = torch.cat([drawn, more]), min(map(len, by_role.values()), default=0)
            by_role = {role: drawn[eligible_role(task, drawn, role) >= 0][:n] for role in roles}
            if all(len(rows) == n for rows in by_role.values()):
                return by_role
            advance(min(map(len, by_role.values()), default=0) - before)
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
    with stage(CHOOSING, 2 * PAIRS * len(roles)):
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
