"""ε by a null quantile: so wide that a given share of unrelated inputs match."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator

from inversionview.bank.bank import Bank
from inversionview.bank.passes import eligible_places, read_vectors
from inversionview.criterion import DEFAULT, Criterion, Metric
from inversionview.errors import UserError
from inversionview.preimage.distance import distances
from inversionview.preimage.epsilon.curve import SAME_ACTIVATION, Calibrated
from inversionview.preimage.rounding import HALF, Beginnings, same_input_floor
from inversionview.preimage.verification import best
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import draw_positions, eligible_role, role_positions

CHOOSING = "epsilon"
"""The stage in which pairs are run."""
PAIRS = 20_000
"""Pairs of unrelated inputs, where no other number is asked for."""
CONFIDENCE = 0.95
FEWEST_INSIDE = 10
"""Pairs that must be expected within ε: fewer place a quantile too loosely."""
_BLOCK_VALUES = 2**25
"""Activation values that are held at once."""
_BLOCK_PAIRS = 4096


_NAMED = 3
"""Sites that an error names."""


class _Pairs(NamedTuple):
    queries: Tokens
    positions: Positions
    others: Tokens
    places: Positions
    """Where the query's role is in the other input, -1 where it lacks it."""


@torch.no_grad()
def null_epsilon(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[Site | str],
    share: float,
    *,
    criterion: Criterion = DEFAULT,
    n: int = PAIRS,
    role: str | None = None,
    skip: bool = False,
    generator: Generator,
) -> dict[str, Calibrated]:
    """By short site name, the ε at which a share of `n` pairs of independent inputs from the prior match.

    The query is one input at a position uniform over its eligible ones, or with `role` at that role; the other input
    matches within ε at the same role (`same`; never where it lacks it) or at its best position (`any`). So ε is a
    quantile of the distances, and at this ε the floor of `in_epsilon` is the share. All sites have the same pairs. The
    interval is made of order statistics and assumes nothing of the distribution; `generator` is on the CPU; the
    criterion's own ε does not matter. With `skip`, sites where no ε has this share are left out, unless there are no
    others.
    Raises `UserError` for a share that is not between 0 and 1 or leaves too few of the `n` pairs inside, that more
    pairs reach by having the very same activation (as far as half precision tells), or that is out of reach as too few
    inputs have the role.
    """
    check_share(share, n)
    parsed = tuple(dict.fromkeys(probed.site(site) for site in sites))
    if not parsed:
        raise UserError("give at least one site to calibrate epsilon for")
    pairs = _draw(task, n, role, generator)
    with stage(CHOOSING, 2 * n):
        blocks = _blocks(pairs, probed, parsed, 1 if criterion.position_rule == "same" else pairs.others.shape[1])
        apart = np.concatenate([_distances(probed, task, parsed, rows, criterion) for rows in blocks], axis=1)
    if probed.dtype in HALF:
        apart = _as_far_as_told(apart, pairs, probed, task, parsed, role=role, criterion=criterion)
    apart.sort(axis=1)
    by_site = {str(site): row for site, row in zip(parsed, apart, strict=True)}
    if skip:
        by_site = {name: row for name, row in by_site.items() if _in_reach(row, share, criterion.metric)} or by_site
    _check_reach(by_site, share, criterion.metric)
    return {name: _calibrated(row, share) for name, row in by_site.items()}


@torch.no_grad()
def bank_epsilon(
    bank: Bank,
    cells: Sequence[tuple[Site, str]],
    share: float,
    *,
    metric: Metric,
    n: int = PAIRS,
    skip: bool = False,
    least: Mapping[tuple[str, str], float] | None = None,
    seed: int = 0,
) -> dict[tuple[str, str], Calibrated]:
    """`null_epsilon` of sites and roles from the activations of a bank, by short name and role; runs nothing.

    The `n` pairs are of different inputs of the bank, the query one that has the role. `least`: distances, by short
    name and role, below which two activations are the same, where half precision tells no more. Raises `UserError` as
    `null_epsilon` does, and for a bank of too few inputs.
    """
    check_share(share, n)
    apart: dict[tuple[str, str], Float[np.ndarray, " pair"]] = {}
    for site, role in cells:
        vectors = bank.vectors(site, role)
        generator = torch.Generator().manual_seed(seed)
        having = (bank.positions(role) >= 0).nonzero()[:, 0]
        if not len(having) or len(vectors) < 2:
            raise UserError(f"none of {len(vectors)} inputs of the bank can be compared at {role!r}: make a larger one")
        query = having[torch.randint(len(having), (n,), generator=generator)]
        other = torch.randint(len(vectors) - 1, (n,), generator=generator)
        other += (other >= query).long()
        row = distances(vectors[other], vectors[query], metric).double().numpy()
        row = np.where(row < (least or {}).get((str(site), role), 0.0), 0.0, row)
        apart[str(site), role] = np.sort(np.where(np.isnan(row), math.inf, row))
    if skip:
        apart = {cell: row for cell, row in apart.items() if _in_reach(row, share, metric)} or apart
    _check_reach({" at ".join(cell): row for cell, row in apart.items()}, share, metric)
    return {cell: _calibrated(row, share) for cell, row in apart.items()}


def check_share(share: float, n: int = PAIRS) -> None:
    """Raise `UserError` for a share of unrelated pairs that `n` pairs cannot place, or that is none."""
    if not 0 < share < 1:
        raise UserError(f"the share of unrelated pairs that match must be between 0 and 1, such as 0.01, not {share}")
    needed = math.ceil(FEWEST_INSIDE / share - 1e-9)
    if n < needed:
        raise UserError(f"null:{share:g} needs at least {needed} pairs, {FEWEST_INSIDE} of them within it, not {n}")


def _draw(task: Task, n: int, role: str | None, generator: Generator) -> _Pairs:
    queries = task.sample(n, generator=generator) if role is None else _with_role(task, n, role, generator)
    others = task.sample(n, generator=generator)
    if role is None:
        positions = draw_positions(task, queries, generator)
        roles = task.roles_at(queries, positions)
    else:
        positions, roles = eligible_role(task, queries, role), [role] * n
    return _Pairs(queries, positions, others, role_positions(task, others, roles))


def _with_role(task: Task, n: int, role: str, generator: Generator) -> Tokens:
    kept: list[Tokens] = []
    while sum(map(len, kept)) < n:
        drawn = task.sample(n, generator=generator)
        kept.append(drawn[eligible_role(task, drawn, role) >= 0])
        if not len(kept[-1]):
            raise UserError(f"none of {n} inputs of {task.name} has a position {role!r} that may be read")
    return torch.cat(kept)[:n]


def _blocks(pairs: _Pairs, probed: ProbedModel, sites: Sequence[Site], positions: int) -> Iterator[_Pairs]:
    values = positions * sum(map(probed.width, sites))
    block = max(1, min(_BLOCK_PAIRS, _BLOCK_VALUES // values))
    for start in range(0, len(pairs.queries), block):
        yield _Pairs(*(part[start : start + block] for part in pairs))


def _distances(
    probed: ProbedModel, task: Task, sites: Sequence[Site], pairs: _Pairs, criterion: Criterion
) -> Float[np.ndarray, "site batch"]:
    """Distance of each other input from its query by the rule; infinity where it has no position."""
    same = criterion.position_rule == "same"
    z_q = read_vectors(probed, pairs.queries, pairs.positions[:, None], sites)
    z = read_vectors(
        probed, pairs.others, pairs.places[:, None] if same else eligible_places(task, pairs.others), sites
    )
    advance(int((pairs.places < 0).sum()) if same else 0)  # those that are not run
    rows = [
        best(distances(z[site], z_q[site], criterion.metric)).distances
        if site in z
        else torch.full((len(pairs.queries),), math.nan)
        for site in sites
    ]
    apart = torch.stack(rows).double().numpy()
    return np.where(np.isnan(apart), math.inf, apart)


def _as_far_as_told(
    apart: Float[np.ndarray, "site pair"], pairs: _Pairs, probed: ProbedModel, task: Task, sites: Sequence[Site], *,
    role: str | None, criterion: Criterion,
) -> Float[np.ndarray, "site pair"]:  # fmt: skip
    """The distances with 0 where half precision tells nothing: of what begins alike, and below the floor of a site."""
    alike = Beginnings(pairs.queries, pairs.positions).shared_by(pairs.others)
    if criterion.position_rule == "same":
        alike &= pairs.places == pairs.positions
    floors = same_input_floor(probed, task, sites, metric=criterion.metric, role=role)
    least = np.array([floors[str(site)] for site in sites])[:, None]
    return np.where(alike.numpy() | (apart < least), 0.0, apart)


def _in_reach(row: Float[np.ndarray, " pair"], share: float, metric: Metric) -> bool:
    return float((row < SAME_ACTIVATION[metric]).mean()) < share <= float(np.isfinite(row).mean())


def _check_reach(by_site: Mapping[str, Float[np.ndarray, " pair"]], share: float, metric: Metric) -> None:
    """Raise where no ε has this share: `by_site` are the sorted distances."""
    same = {name: float((row < SAME_ACTIVATION[metric]).mean()) for name, row in by_site.items()}
    if max(same.values()) >= share:
        worst = sorted((name for name, part in same.items() if part >= share), key=lambda name: -same[name])
        told = ", ".join(f"{same[name]:.3g} of them at {name}" for name in worst[:_NAMED])
        told += f" and {len(worst) - _NAMED} more sites" if len(worst) > _NAMED else ""
        raise UserError(
            f"null:{share:g} is out of reach: unrelated pairs often have the very same activation, {told}; "
            f"use a share well above {max(same.values()):.3g}, a constant, or calibrate at one later position"
        )
    reached = min(float(np.isfinite(row).mean()) for row in by_site.values())
    if reached < share:
        raise UserError(
            f"null:{share:g} is out of reach: only {reached:.3g} of the inputs have the query's position, "
            "so use a smaller share, or the position rule any"
        )


def _calibrated(row: Float[np.ndarray, " pair"], share: float) -> Calibrated:
    """The quantile of sorted distances: the least one that this share of them does not exceed."""
    from scipy.stats import binom

    n, tail = len(row), (1 - CONFIDENCE) / 2
    epsilon = float(row[math.ceil(share * n - 1e-9) - 1])  # 0.07 * 100 is a little over 7
    # The number of pairs within the true quantile is Binomial(n, share); its bounds are the ranks of the interval's.
    lower, upper = (int(binom.ppf(q, n, share)) for q in (tail, 1 - tail))
    interval = (float(row[lower - 1]), float(row[upper]) if upper < n else math.inf)
    detail = f"{share:.3g} of {n} unrelated pairs are within {epsilon:.4g}"
    return Calibrated(epsilon, interval, f"{detail} (95% interval {interval[0]:.4g} to {interval[1]:.4g})", n)
