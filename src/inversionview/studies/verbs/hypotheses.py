"""Tests a hypothesis about activations: on fresh members, against random queries, beside controls."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable
from inversionview.preimage.exact import scan_domain
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.proposals import mixture
from inversionview.progress import advance, stage
from inversionview.reading.hypotheses import (
    Consistency,
    Given,
    Hypothesis,
    as_hypothesis,
    check_not_constant,
    consistency,
    holm,
    nothing_but_the_query,
    padded_row,
    permutation_p,
)
from inversionview.results.estimates import Interval
from inversionview.results.hypotheses import Control, HypothesisTest, HypothesisTests
from inversionview.results.preimage import Query
from inversionview.shapes import InputMask, Tokens
from inversionview.studies.parts import Parts, checked_site, counts_all, decoder_for, measured
from inversionview.studies.settings import TestSettings
from inversionview.tasks.positions import eligible_role

RANDOM_INPUT, BEGIN, DIRECTION, NOTHING = "random input", "begin token", "random direction", "no activation"
"""The controls: the activation of an input for which the hypothesis does not hold, the one at the begin token, a random
vector around zero of the query activation's norm, and a reader that has only the prior."""

BASE_DRAWS = 10_000
"""Draws from the prior for the base rate, whose standard error is then at most 0.005."""

_OWN, _RANDOM_QUERY = "query", "random query"
_DRAWS_TOGETHER = 8192
_ROUNDS = 100


class _Run(NamedTuple):
    """What stays the same for everything that is looked at in one test."""

    parts: Parts
    hypothesis: Hypothesis
    query: Query
    """One of those that were asked; they differ in the site alone."""
    criterion: Criterion
    limits: Mapping[str, float]
    """Largest distance of a member at each site."""
    n: int
    seed: int

    def generator(self, *purpose: str) -> Generator:
        """A random stream of its own for each purpose."""
        return Generator().manual_seed(self.stream(*purpose))

    def stream(self, *purpose: str) -> int:
        """A seed that no user's seed is likely to be, so that no draw is shared with `study.preimage`."""
        digest = hashlib.blake2b(repr(("hypothesis", self.seed, purpose)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def counts(self, tokens: Tokens) -> InputMask:
        """Which inputs are in the domain: under rule `same`, those that have the query's role."""
        if self.criterion.position_rule == "any":
            return torch.ones(len(tokens), dtype=torch.bool)
        return eligible_role(self.parts.task, tokens, self.query.role) >= 0


class _Look(NamedTuple):
    """One activation whose preimage is looked at."""

    kind: str
    query: Query
    activation: Float[Tensor, " width"]

    @property
    def reads_the_query(self) -> bool:
        """Whether the query's own input is a member whatever the activation says."""
        return self.kind in (_OWN, _RANDOM_QUERY)


class _Prior(NamedTuple):
    """What a reader finds who sees no activation."""

    rate: float
    """For what share of the inputs the hypothesis holds."""
    control: Control


def run_hypothesis(
    parts: Parts,
    queries: Sequence[Query],
    hypothesis: Given,
    criterion: Criterion,
    settings: TestSettings,
) -> HypothesisTests:
    """Test a hypothesis on the preimage of one activation, or of several sites at one position of one input.

    With `exact`, all inputs of the domain are counted, in one pass; else `n` are drawn for each activation, from the
    decoder and the prior. By default it is exact where the task can enumerate. The draws have a random stream of
    their own: those of `study.preimage`, on which a hypothesis is found, are never those that confirm it.

    The p-value compares with the preimages of `random_queries` inputs at the same site and role, from the prior among
    those for which the hypothesis does not hold: where it holds, another activation that says so is no chance. Those
    without members are left out. No p-value is below 1 / (1 + `random_queries`), and no corrected one below that times
    the number of sites, so many sites need many random queries.
    Raises `UserError` for a hypothesis that cannot be (see `as_hypothesis`) or is constant, queries that differ in more
    than the site, settings that cannot be, or `exact` where the task cannot enumerate.
    """
    _check_queries(parts, queries)
    task, exact = parts.task, settings.exact
    for name, value, such_as in (("n", settings.n, 1000), ("random_queries", settings.random_queries, 99)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, such as {such_as}, not {value}")
    exact = counts_all(parts) if exact is None else exact
    if exact:
        checked_enumerable(task)
    run = _Run(
        parts,
        as_hypothesis(task, hypothesis, queries[0]),
        queries[0],
        criterion,
        {},
        settings.n,
        settings.seed,
    )
    rate = _base_rate(run)
    others = _others(run, settings.random_queries)
    epsilons = measured(parts, queries, criterion, settings.seed)
    run = run._replace(limits={query.site: one.value for query, one in zip(queries, epsilons, strict=True)})
    groups = [_looks(run, query, others) for query in queries]
    search = _counted if exact else _sampled
    looks = [look for group in groups for look in group]
    with stage("test", task.size if exact else len(looks)):
        prior, consistencies = search(run, looks, rate)
    results = iter(consistencies)
    tests = [
        _test(run, group, [next(results) for _ in group], prior, sites=len(queries), exact=exact) for group in groups
    ]
    corrected = holm([test.p_value for test in tests])
    return HypothesisTests(dataclasses.replace(test, p_corrected=p) for test, p in zip(tests, corrected, strict=True))


def _check_queries(parts: Parts, queries: Sequence[Query]) -> None:
    if not queries:
        raise UserError("give at least one query to test the hypothesis on")
    for query in queries:
        checked_site(parts, query.site)
        query.needed_input("a test of a hypothesis")
    if len({(query.tokens, query.position) for query in queries}) > 1:
        raise UserError("the queries of one hypothesis must be one input at one position, and differ in the site alone")
    if len({query.site for query in queries}) < len(queries):
        raise UserError("a site is asked twice, which would count as two in the correction of the p-values")


def _base_rate(run: _Run) -> float:
    """The share of draws from the prior for which the hypothesis holds. Raises `UserError` where it is constant."""
    holds = run.hypothesis.holds(_draw(run, BASE_DRAWS, run.generator("base rate")))
    check_not_constant(run.hypothesis, bool(run.hypothesis.holds(padded_row(run.parts.task, run.query))), holds)
    return float(holds.double().mean())


def _draw(run: _Run, n: int, generator: Generator) -> Tokens:
    """Inputs from the prior, in the domain that the position rule leaves; fewer than `n` where those are very rare."""
    kept: list[Tokens] = []
    for _ in range(_ROUNDS):
        tokens = run.parts.task.sample(n, generator=generator)
        kept.append(tokens[run.counts(tokens)])
        if sum(map(len, kept)) >= n:
            break
    drawn = torch.cat(kept)[:n]
    if not len(drawn):
        raise UserError(
            f"none of {_ROUNDS * n:,} inputs from the prior has a position {run.query.role!r} to compare with"
        )
    return drawn


def _others(run: _Run, count: int) -> list[Query]:
    """Random inputs at the query's role for which the hypothesis does not hold; fewer where those are very rare."""
    task, query, generator = run.parts.task, run.query, run.generator("random queries")
    others: list[Query] = []
    for _ in range(_ROUNDS):
        tokens = task.sample(10 * count, generator=generator)
        places = eligible_role(task, tokens, query.role)
        tokens, places = tokens[places >= 0], places[places >= 0]
        differs = ~run.hypothesis.holds(tokens)
        for row, position in zip(tokens[differs], places[differs].tolist(), strict=True):
            strings = tuple(task.token_strings(row))
            ids = tuple(row[: len(strings)].tolist())
            if ids != query.tokens and len(others) < count:
                others.append(Query(query.study, task.decode(row), ids, strings, position, query.role, query.site))
        if len(others) == count:
            break
    return others


def _looks(run: _Run, query: Query, others: Sequence[Query]) -> list[_Look]:
    """The query itself first, then the controls, then the random queries; without activations of norm 0."""
    parts = run.parts
    site = parts.probed.site(query.site)
    here = [query, *(dataclasses.replace(other, site=query.site) for other in others)]
    own, *random = query_activations(parts.probed, parts.task, here)
    begin = parts.probed.capture(torch.tensor([[parts.task.begin]]), [site], 0)[site][0].float().cpu()
    direction = torch.randn(len(own), generator=run.generator(DIRECTION, query.site))
    looks = [
        _Look(BEGIN, query, begin),
        _Look(DIRECTION, query, direction * own.norm() / direction.norm()),
        *(_Look(_RANDOM_QUERY, other, z) for other, z in zip(here[1:], random, strict=True)),
    ]
    return [_Look(_OWN, query, own), *(look for look in looks if look.activation.norm() > 0)]


def _sampled(run: _Run, looks: Sequence[_Look], rate: float) -> tuple[_Prior, list[Consistency]]:
    """Draw for each activation and verify, in groups that memory bears; and draw as many from the prior alone."""
    parts, together = run.parts, max(1, _DRAWS_TOGETHER // run.n)
    consistencies: list[Consistency] = []
    for start in range(0, len(looks), together):
        group = looks[start : start + together]
        preimages = sampled_preimages(
            parts.probed,
            parts.task,
            [look.query for look in group],
            mixture(decoder_for(parts, [look.query for look in group]), parts.task, run.n),
            criterion=run.criterion.but([run.limits[look.query.site] for look in group]),
            seed=run.stream("confirm"),
            activations=torch.stack([look.activation for look in group]),
        )
        consistencies += [
            consistency(preimage, run.hypothesis, leave_out_query=look.reads_the_query)
            for look, preimage in zip(group, preimages, strict=True)
        ]
        advance(len(group))
    seen = run.hypothesis.holds(_draw(run, run.n, run.generator(NOTHING))).double()
    return _Prior(rate, Control(consistency=float(seen.mean()), members=len(seen))), consistencies


def _counted(run: _Run, looks: Sequence[_Look], rate: float) -> tuple[_Prior, list[Consistency]]:
    """The same of all inputs of the domain, which is never held in memory as a whole; it gives the rate itself, too."""
    parts, task = run.parts, run.parts.task
    own = _keys(torch.cat([padded_row(task, look.query) for look in looks]))
    own_counts = torch.tensor([not look.reads_the_query for look in looks])
    limits = torch.tensor([run.limits[look.query.site] for look in looks], dtype=torch.float64)
    counted = torch.zeros(len(looks), 3, dtype=torch.float64)
    everything, start, columns = torch.zeros(3, dtype=torch.float64), -1, torch.empty(0)
    for scan in scan_domain(
        parts.probed,
        task,
        [look.query for look in looks],
        criterion=run.criterion,
        activations=torch.stack([look.activation for look in looks]),
    ):
        if scan.start != start:  # the same block comes once for each site
            start, columns, keys = scan.start, _columns(run, scan.tokens), _keys(scan.tokens)
            everything += columns[run.counts(scan.tokens)].sum(dim=0)
        rows = torch.tensor(scan.queries)
        inside = scan.distances.double() <= limits[rows, None]
        inside &= own_counts[rows, None] | (keys != own[rows, None])
        counted[rows] += inside.double() @ columns
    count, mass, held = everything.tolist()
    rate = held / mass
    return _Prior(rate, Control(consistency=rate, members=int(count))), [_exactly(*row) for row in counted.tolist()]


def _columns(run: _Run, tokens: Tokens) -> Float[Tensor, "batch 3"]:
    """What to add up over inputs: one, the prior, and the prior where the hypothesis holds."""
    # In units of the query's prior, so that sums under a uniform prior are of ones, and exact.
    reference = run.parts.task.log_prior(padded_row(run.parts.task, run.query)).double()
    prior = (run.parts.task.log_prior(tokens).double() - reference).exp()
    return torch.stack([torch.ones_like(prior), prior, prior * run.hypothesis.holds(tokens)], dim=1)


def _exactly(count: float, mass: float, held: float) -> Consistency:
    if not mass > 0:
        return nothing_but_the_query(None)
    share = min(1.0, held / mass)
    return Consistency(share, Interval(share, share), int(count), count)


def _keys(tokens: Tokens) -> Int[Tensor, " batch"]:
    """One number an input, in which two inputs are as good as never alike."""
    factors = torch.randint(2**62, (tokens.shape[1],), generator=Generator().manual_seed(0))
    return (tokens * factors).sum(dim=1)


def _test(
    run: _Run, looks: Sequence[_Look], consistencies: Sequence[Consistency], prior: _Prior, *, sites: int, exact: bool
) -> HypothesisTest:
    """What came out for one site; the p-value is corrected later, when there are those of all sites."""
    own, pairs = consistencies[0], list(zip(looks, consistencies, strict=True))
    others = [result for look, result in pairs if look.kind == _RANDOM_QUERY]
    by_kind = {look.kind: result for look, result in pairs if look.kind in (BEGIN, DIRECTION)}
    if others:
        by_kind[RANDOM_INPUT] = others[0]
    controls = {name: _control(by_kind.get(name)) for name in (RANDOM_INPUT, BEGIN, DIRECTION)}
    null = [result.share for result in others if result.share is not None]
    return HypothesisTest(
        name=run.hypothesis.name,
        site=looks[0].query.site,
        at=run.query.role,
        consistency=own.share,
        interval=own.interval,
        members=own.members,
        effective_size=own.effective_size,
        base_rate=prior.rate,
        lift=own.share / prior.rate if own.share is not None and prior.rate else None,
        p_value=None if own.share is None else permutation_p(own.share, null),
        random_queries=len(null),
        p_corrected=None,
        sites_tried=sites,
        controls=controls | {NOTHING: prior.control},
        why_not=own.why_not,
        seed=run.seed,
        exact=exact,
    )


def _control(measured: Consistency | None) -> Control:
    return Control(None, 0) if measured is None else Control(measured.share, measured.members)
