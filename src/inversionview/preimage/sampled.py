"""Sampled preimages: propose inputs for many activations at once, merge repeats, and verify every one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.criterion import Criterion, Metric
from inversionview.decoder.model import Decoder
from inversionview.decoder.scoring import score
from inversionview.preimage.distance import distances
from inversionview.preimage.domain import domain_size
from inversionview.preimage.rounding import Beginnings
from inversionview.preimage.sources.banked import BankSample
from inversionview.preimage.sources.proposals import (
    AlreadyRun,
    DecoderDensity,
    DecoderSource,
    Density,
    Draws,
    GivenDensity,
    Source,
    query_generator,
)
from inversionview.preimage.verification import at_role, best, eligible_distances, rows_by_site
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.results.estimates import Component
from inversionview.results.preimage import Preimage, Query
from inversionview.shapes import InputMask, PerPosition, Tokens
from inversionview.tasks.base import Conditional, Task
from inversionview.tasks.positions import eligible_role


class _Densities(NamedTuple):
    """How probable the candidates of one query were, under the sources that know it."""

    log_prior: np.ndarray
    components: tuple[Component, ...]
    log_densities: np.ndarray
    log_prob: np.ndarray
    """Of the decoder at temperature 1."""
    token_log_prob: np.ndarray | None
    """The same of each token [candidate, pos], NaN in rows where it was not needed; None without a decoder."""


class _Candidates(NamedTuple):
    """The distinct inputs drawn for one query, in the order of their token ids."""

    tokens: Tokens
    log_prob: np.ndarray
    token_log_probs: Float[Tensor, "candidate pos temperature"]
    """Of the decoder, at each temperature whose density is known; NaN in rows that were not scored while drawn."""
    sources: list[dict[str, int]]


def sampled_preimages(
    probed: ProbedModel,
    task: Task,
    queries: Sequence[Query],
    sources: Sequence[Source],
    *,
    criterion: Criterion,
    seed: int = 0,
    activations: Float[Tensor, "query width"] | None = None,
) -> list[Preimage]:
    """One preimage a query, in their order; inputs, positions and sites may all differ.

    A query's draws depend on the seed, the query and the source alone, not on what else is asked. Malformed candidates
    are kept, with their distances, and are never members. `activations` stand in for the queries' own.
    Raises `UserError` for an ε that is still to be measured, or a query activation of norm 0.
    """
    limits = criterion.limits([query.site for query in queries])
    if not queries:
        return []
    z_q = query_activations(probed, task, queries) if activations is None else activations
    distances(z_q, z_q, criterion.metric)  # a query activation without a direction is known before anything is drawn
    scored = _temperatures(sources)
    sources = [replace(one, scored=scored) if _scores_draws(one, sources) else one for one in sources]
    with stage("propose", sum(getattr(source, "n", 0) for source in sources) * len(queries) or None):
        draws = [_draw(source, z_q, queries, seed) for source in sources]
    candidates = [
        _merge([source.name for source in sources], [_of_query(d, i) for d in draws], len(scored))
        for i in range(len(queries))
    ]
    distinct = sum(len(one.tokens) for one in candidates)
    with stage("verify", distinct):
        before = [
            _already_run(sources, i, query, z_q[i], one.tokens, metric=criterion.metric)
            for i, (query, one) in enumerate(zip(queries, candidates, strict=True))
        ]
        known = activations is None
        everywhere = _verify(probed, task, queries, candidates, z_q, before, metric=criterion.metric, known=known)
    with stage("weigh", distinct):
        densities = [_densities(task, *row, sources) for row in zip(queries, candidates, z_q, strict=True)]
    rows = zip(queries, candidates, everywhere, densities, strict=True)
    return [
        _preimage(task, *row, criterion=criterion, epsilon=limit, seed=seed)
        for row, limit in zip(rows, limits, strict=True)
    ]


def query_activations(probed: ProbedModel, task: Task, queries: Sequence[Query]) -> Float[Tensor, "query width"]:
    """The activations that are read, on the CPU; where sites differ in width, with zeros after the narrower ones."""
    tokens = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(query.tokens, dtype=torch.long) for query in queries], batch_first=True, padding_value=task.pad
    )
    positions = torch.tensor([query.position for query in queries])
    by_site = rows_by_site(queries)
    activations = torch.zeros(len(queries), max(map(probed.width, by_site)))
    for site, rows in by_site.items():
        read = rows[positions[rows] >= 0]
        if len(read):
            values = probed.capture(tokens[read], [site], positions[read])[site]
            activations[read, : values.shape[1]] = values.float().cpu()
    for row, query in enumerate(queries):
        if query.vector is not None:
            activations[row, : len(query.vector)] = torch.tensor(query.vector)
    return activations


def _draw(source: Source, z_q: Float[Tensor, "query width"], queries: Sequence[Query], seed: int) -> Draws:
    generators = [query_generator(seed, source.name, query) for query in queries]
    if isinstance(source, DecoderSource):  # says itself how far it is
        return source.propose(z_q, queries, generators)
    with stage(source.name):
        drawn = source.propose(z_q, queries, generators)
    advance(drawn.tokens.shape[0] * drawn.tokens.shape[1])
    return drawn


def _decoder_of(sources: Sequence[Source]) -> Decoder | None:
    return next((source.decoder for source in sources if isinstance(source, DecoderSource)), None)


def _temperatures(sources: Sequence[Source]) -> tuple[float, ...]:
    """Those at which the decoder's densities are needed: 1, and those that are drawn from; none without a decoder."""
    if _decoder_of(sources) is None:
        return ()
    drawn_from = [s.density.temperature for s in sources if isinstance(s.density, DecoderDensity)]
    return tuple(dict.fromkeys([1.0, *drawn_from]))


def _scores_draws(source: Source, sources: Sequence[Source]) -> TypeGuard[DecoderSource]:
    """Whether what a source draws is scored on the way, given the query's own activation."""
    return isinstance(source, DecoderSource) and source.density is not None and source.decoder is _decoder_of(sources)


def _of_query(draws: Draws, query: int) -> Draws:
    scores = draws.token_log_probs
    return Draws(draws.tokens[query], draws.log_prob[query], None if scores is None else scores[query])


def _merge(names: Sequence[str], draws: Sequence[Draws], n_temperatures: int) -> _Candidates:
    """One row a distinct input, with how many times each source drew it; `draws` are those of one query."""
    tokens = np.concatenate([d.tokens.numpy() for d in draws])
    log_prob = np.concatenate([d.log_prob.numpy() for d in draws]).astype(np.float64)
    source = np.repeat(np.arange(len(draws)), [len(d.tokens) for d in draws])
    distinct, first, index = np.unique(tokens, axis=0, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    times = np.zeros((len(distinct), len(draws)), dtype=np.int64)
    np.add.at(times, (index, source), 1)
    merged = np.full(len(distinct), np.nan)
    scored = ~np.isnan(log_prob)
    # Of repeats the first, which its batch may set apart by rounding.
    merged[index[scored][::-1]] = log_prob[scored][::-1]
    unscored = (torch.full((*d.tokens.shape, n_temperatures), torch.nan) for d in draws)
    scores = [none if d.token_log_probs is None else d.token_log_probs for d, none in zip(draws, unscored, strict=True)]
    token_log_probs = torch.cat(scores)[torch.from_numpy(first)]
    counts = [{name: int(t) for name, t in zip(names, row, strict=True) if t} for row in times]
    return _Candidates(torch.from_numpy(distinct), merged, token_log_probs, counts)


def _already_run(
    sources: Sequence[Source], index: int, query: Query, z_q: Float[Tensor, " width"], tokens: Tokens, *, metric: Metric
) -> AlreadyRun:
    """What a bank among the sources holds of the candidates of a query."""
    bank = next((source for source in sources if isinstance(source, BankSample)), None)
    if bank is None:
        return AlreadyRun(torch.zeros(len(tokens), dtype=torch.bool), torch.full(tokens.shape, torch.nan))
    return bank.already_run(index, query, z_q, tokens, metric=metric)


def _verify(
    probed: ProbedModel,
    task: Task,
    queries: Sequence[Query],
    candidates: Sequence[_Candidates],
    z_q: Float[Tensor, "query width"],
    before: Sequence[AlreadyRun],
    *,
    metric: Metric,
    known: bool,
) -> list[PerPosition]:
    """Distances [candidate, pos] for each query, all queries of one site run together.

    `known`: the activations are the queries' own, and so those of what begins as they do.
    """
    verified = [one.distances.clone() for one in before]
    for site, rows in rows_by_site(queries).items():
        new = [~before[i].rows for i in rows]
        sizes = [int(some.sum()) for some in new]
        tokens = torch.cat([candidates[i].tokens[some] for i, some in zip(rows, new, strict=True)])
        wanted = z_q[rows].repeat_interleave(torch.tensor(sizes), dim=0)
        of = Beginnings.of([queries[i] for i in rows]).take(
            torch.arange(len(rows)).repeat_interleave(torch.tensor(sizes))
        )
        everywhere = eligible_distances(probed, task, tokens, site, wanted, metric=metric, of=of if known else None)
        for i, some, distances_there in zip(rows.tolist(), new, torch.split(everywhere, sizes), strict=True):
            verified[i][some] = distances_there
        advance(int(sum((~some).sum() for some in new)))
    return verified


def _densities(
    task: Task, query: Query, candidates: _Candidates, z_q: Float[Tensor, " width"], sources: Sequence[Source]
) -> _Densities:
    """Every known density of every candidate in the domain: of those not scored while drawn, by teacher forcing."""
    weighed = [source for source in sources if source.density is not None]
    log_prior = task.log_prior(candidates.tokens).double().numpy()
    inside = task.contains(candidates.tokens)
    temperatures, log_prob, token_log_probs = _temperatures(sources), candidates.log_prob, None
    by_temperature: dict[float, np.ndarray] = {}
    if temperatures:
        token_log_probs = _scored(query, candidates, inside, z_q, sources)
        totals = token_log_probs.double().sum(dim=1).masked_fill(~inside[:, None], torch.nan).numpy()
        by_temperature = dict(zip(temperatures, totals.T, strict=True))
        log_prob = np.where(inside.numpy(), by_temperature[1.0], log_prob)
    else:
        advance(len(candidates.tokens))
    rows = [
        by_temperature[s.density.temperature]
        if isinstance(s.density, DecoderDensity)
        else _prior_density(task, query, candidates.tokens, inside, log_prior=log_prior, density=s.density)
        for s in weighed
    ]
    proposed = {s.name: sum(row.get(s.name, 0) for row in candidates.sources) for s in weighed}
    times = {s.name: getattr(s, "drawn", proposed[s.name]) for s in weighed}  # of a bank the nearest are proposed
    return _Densities(
        log_prior,
        tuple(Component(s.name, times[s.name]) for s in weighed),
        np.array(rows).reshape(len(weighed), len(candidates.tokens)),
        log_prob,
        None if token_log_probs is None else token_log_probs[:, :, 0].double().numpy(),
    )


def _scored(
    query: Query,
    candidates: _Candidates,
    inside: InputMask,
    z_q: Float[Tensor, " width"],
    sources: Sequence[Source],
) -> Float[Tensor, "candidate pos temperature"]:
    """log q of the tokens of every candidate in the domain, and of those others that were scored while drawn."""
    decoder = _decoder_of(sources)
    assert decoder is not None
    log_probs = candidates.token_log_probs
    left = inside & log_probs[:, 0, 0].isnan()
    advance(int((~left).sum()))
    site = decoder.config.sites.index(query.site)
    log_probs[left] = score(decoder, candidates.tokens[left], z_q, site, _temperatures(sources)).permute(1, 2, 0)
    return log_probs


def _prior_density(
    task: Task,
    query: Query,
    tokens: Tokens,
    inside: InputMask,
    *,
    log_prior: Float[np.ndarray, " candidate"],
    density: Density | None,
) -> Float[np.ndarray, " candidate"]:
    """log q(x) of the prior, or of the prior given a condition: minus infinity where an input does not meet it."""
    log_density: np.ndarray = np.where(inside.numpy(), log_prior, np.nan)
    if isinstance(density, GivenDensity):
        assert isinstance(task, Conditional)
        own, rows = torch.tensor(query.tokens), inside.nonzero()[:, 0]
        agree = task.agrees(density.condition, own, tokens[rows]).numpy()
        log_density[rows.numpy()] = np.where(
            agree, log_prior[rows.numpy()] - task.log_mass(density.condition, own), -np.inf
        )
    return log_density


def _preimage(
    task: Task,
    query: Query,
    candidates: _Candidates,
    everywhere: PerPosition,
    densities: _Densities,
    *,
    criterion: Criterion,
    epsilon: float,
    seed: int,
) -> Preimage:
    in_domain = task.contains(candidates.tokens)
    if criterion.position_rule == "same":
        positions = eligible_role(task, candidates.tokens, query.role)
        nearest = at_role(everywhere, positions)
        in_domain &= positions >= 0
    else:
        nearest = best(everywhere)
    order = np.argsort(nearest.distances.numpy(), kind="stable")  # NaN comes last; candidates are in order of token ids
    rows = torch.from_numpy(order)
    tokens = candidates.tokens[rows]
    domain = domain_size(task, query.role if criterion.position_rule == "same" else None)
    return Preimage(
        query=query,
        epsilon=epsilon,
        metric=criterion.metric,
        position_rule=criterion.position_rule,
        seed=seed,
        domain_size=domain.inputs,
        domain_mass=domain.mass,
        inputs=tuple(task.decode(row) for row in tokens),
        tokens=tokens.numpy(),
        token_strings=tuple(tuple(task.token_strings(row)) for row in tokens),
        positions=nearest.positions[rows].numpy(),
        distances=nearest.distances[rows].double().numpy(),
        in_domain=in_domain[rows].numpy(),
        sources=tuple(candidates.sources[i] for i in order),
        log_prob=densities.log_prob[order],
        log_prior=None
        if np.isnan(densities.log_prior).any()
        else densities.log_prior[order],  # a prior without a density
        components=densities.components,
        log_densities=densities.log_densities[:, order],
        token_distances=everywhere[rows].double().numpy(),
        token_log_prob=None if densities.token_log_prob is None else densities.token_log_prob[order],
    )
