"""Exact readings: the whole preimage, by one pass over the domain."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable, uniform_log_prior
from inversionview.preimage.epsilon.curve import GRID, epsilon_curve
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.index import IndexedDomain, ensure_index
from inversionview.results.preimage import Preimage, Query
from inversionview.studies.parts import Parts, measured, part_of
from inversionview.studies.settings import ExactSettings
from inversionview.studies.verbs.explain_by_features import explained_in_domain
from inversionview.studies.verbs.explain_inputs import MOST_DISTANCES
from inversionview.studies.verbs.read import with_words
from inversionview.tasks.base import Task

Indexes = dict[Path, IndexedDomain]
"""Those that were opened, by their folders."""


def exact(
    parts: Parts,
    queries: Sequence[Query],
    criterion: Criterion,
    settings: ExactSettings,
    *,
    indexes: Indexes | None = None,
) -> list[Preimage]:
    """The exact preimage of each query; see `Study.exact_preimage`. `indexes` keeps what is opened of them."""
    if settings.given is not None:
        if settings.index is not None:
            raise UserError("an index holds the whole domain: give either index or given")
        return [_of_a_part(parts, query, criterion, settings, settings.given) for query in queries]
    task = parts.task
    checked_enumerable(task)
    epsilons = measured(parts, queries, criterion, settings.seed)
    size = len(queries) * (task.size or 0)
    worded = settings.explain and (settings.curve or size <= MOST_DISTANCES)
    distances = np.empty((len(queries), task.size or 0), np.float32) if settings.curve or worded else None
    preimages = exact_preimages(
        parts.probed,
        task,
        queries,
        criterion=criterion.but([epsilon.value for epsilon in epsilons]),
        domain=None if settings.index is None else _indexed(parts, queries, settings.index, indexes),
        into=distances,
    )
    preimages = [with_words(task, *row) for row in zip(preimages, epsilons, strict=True)]
    if distances is not None and worded:
        preimages = explained_in_domain(parts, preimages, settings.seed, distances)
    return _with_curves(task, preimages, distances) if distances is not None and settings.curve else preimages


def _of_a_part(parts: Parts, query: Query, criterion: Criterion, settings: ExactSettings, name: str) -> Preimage:
    """The exact preimage among the inputs that share something with the query's."""
    part, words = part_of(parts, query, name)
    [preimage] = exact(part, [query], criterion, dataclasses.replace(settings, given=None))
    return dataclasses.replace(preimage, given=words)


def _indexed(parts: Parts, queries: Sequence[Query], folder: Path, indexes: Indexes | None) -> IndexedDomain:
    indexes = {} if indexes is None else indexes
    for site in dict.fromkeys(query.site for query in queries):
        ensure_index(parts.probed, parts.task, site, folder)
    if folder not in indexes:
        indexes[folder] = IndexedDomain(folder, parts.probed, parts.task)
    return indexes[folder]


def _with_curves(
    task: Task, preimages: Sequence[Preimage], distances: Float[np.ndarray, "query input"]
) -> list[Preimage]:
    prior = None
    if uniform_log_prior(task) is None:
        prior = np.concatenate([task.log_prior(rows).double().exp().numpy() for rows in task.enumerate()])
    return [
        dataclasses.replace(preimage, curve=tuple(epsilon_curve(row, prior, [*GRID, preimage.epsilon])))
        for preimage, row in zip(preimages, distances, strict=True)
    ]
