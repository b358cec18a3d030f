"""Estimates from made-up draws of known distributions, whose preimages are known, too."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats

from inversionview.criterion import Criterion
from inversionview.decoder.sampling import sample
from inversionview.errors import UserError
from inversionview.preimage.estimates.reach import expected_reach
from inversionview.preimage.exact import exact_preimages
from inversionview.results import estimators
from inversionview.results.estimates import Size
from inversionview.results.estimators import LEAST_SIZE, clopper_pearson
from inversionview.results.preimage import Preimage
from tests.preimage.estimates.worlds import World, made, world
from tests.preimage.tiny import SITES, decoder, few_sums, probed, query

WORLDS = {
    "few found": world(20_000, 4000, (400, 300, 300)),
    "half found": world(),
    "nearly all found": world(1000, 60, (250, 250, 250)),
    "even decoder": world(20_000, 300, (10, 150, 150), sharp=0.3, hits=0.97),
    "the whole domain": world(300, 300, (100, 100, 100), hits=1.0),
    "uneven prior": world(tilt=9.0),
    "uneven decoder": world(2000, 500, (400, 300, 300), sharp=2.0),
}


class Run(NamedTuple):
    """What is said of one sample, beside what is so."""

    size: Size
    reach: estimators.ShareEstimate
    found: int
    mass: float
    """Of what was found."""


@functools.cache
def runs(name: str) -> list[Run]:
    preimages = [WORLDS[name].draw(seed) for seed in range(200)]
    return [
        Run(estimators.size(p), estimators.reach(p), p.n_inside, float(np.exp(p.log_prior[p.inside]).sum()))
        for p in preimages
    ]


def covered(interval, truth: float) -> bool:
    return interval is not None and interval.low - 1e-9 <= truth <= interval.high + 1e-9


@pytest.mark.parametrize("name", WORLDS)
def test_the_size_is_right_on_average_and_its_interval_holds_the_truth(name):
    made_of, found = WORLDS[name], [run.size for run in runs(name)]
    bits, n = -math.log2(made_of.truth), made_of.inside.sum()
    assert all(one.why_not is None for one in found)
    assert np.mean([2**-one.bits for one in found]) == pytest.approx(made_of.truth, rel=0.03)
    assert np.mean([covered(one.bits_interval, bits) for one in found]) >= 0.9
    assert np.median([one.bits_interval.high - one.bits_interval.low for one in found]) < 0.5
    assert np.mean([one.inputs for one in found]) == pytest.approx(n, rel=0.03)
    assert np.mean([covered(one.interval, n) for one in found]) >= 0.9


@pytest.mark.parametrize("name", WORLDS)
def test_no_interval_goes_below_what_was_found_or_above_what_there_is(name):
    for run in runs(name):
        size, reach = run.size, run.reach
        assert run.found - 1e-6 <= size.interval.low <= size.inputs + 1e-6
        assert size.inputs - 1e-6 <= size.interval.high <= len(WORLDS[name].prior) + 1e-6
        least, most = size.bits_interval
        assert -1e-9 <= least <= size.bits + 1e-9
        assert size.bits - 1e-9 <= most <= -math.log2(run.mass) + 1e-9
        assert 0 <= reach.interval.low <= reach.share <= reach.interval.high <= 1


def test_more_draws_make_the_interval_narrower():
    def width(times: int) -> float:
        draws = tuple(times * n for n in (100, 100, 100))
        found = estimators.size(world(20_000, 4000, draws).draw(0))
        return found.bits_interval.high - found.bits_interval.low

    assert width(16) < 0.6 * width(4) < 0.4 * width(1)


def test_a_sample_that_has_everything_knows_the_size():
    found = estimators.size(world(100, 8, (20_000, 20_000, 20_000)).draw(0))
    assert found.inputs == pytest.approx(8, rel=1e-6)
    assert found.interval == pytest.approx((8, 8), rel=1e-6)
    assert found.effective_size > 1e6


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("no draw is inside ε", lambda p: p.at_epsilon(0.01)),
        ("no source of these draws has a known density", lambda p: dataclasses.replace(p, components=())),
        ("no source of these draws has a known density", lambda p: dataclasses.replace(p, log_densities=None)),
        ("the task's prior has no density", lambda p: dataclasses.replace(p, log_prior=np.full(len(p), np.nan))),
        ("the task's prior has no density", lambda p: dataclasses.replace(p, log_prior=None)),
    ],
)
def test_a_size_that_cannot_be_known_says_why(why, change):
    preimage = change(world().draw(0))
    found = estimators.size(preimage)
    assert (found.inputs, found.interval, found.bits, found.bits_interval) == (
        None,
        None,
        None,
        None,
    )
    assert found.why_not == why
    assert estimators.reach(preimage) == (None, None, 0 if "draw is" in why else estimators.reach(preimage).n, why)


def test_the_query_alone_is_no_sample():
    made_of = world(2000, 1, (200, 200, 200))
    assert not made_of.inside[0]
    made_of.inside[:] = False
    made_of.inside[0] = True  # the query's own number
    counts = {name: np.eye(1, 2000, dtype=int)[0] * 200 for name in made_of.densities}
    found = estimators.size(made_of.preimage(counts))
    assert found.why_not == "no member but the query itself was drawn"
    assert found.inputs is None
    padded = made_of.preimage(counts)
    padded = dataclasses.replace(padded, tokens=np.array([[0, 0, 14]]))
    assert estimators.size(padded).why_not == found.why_not
    made_of.inside[:] = False
    made_of.inside[1] = True  # one other input
    counts = {name: np.eye(1, 2000, 1, dtype=int)[0] * 200 for name in made_of.densities}
    assert estimators.size(made_of.preimage(counts)).why_not != found.why_not


def test_members_of_very_uneven_weight_are_worth_too_few():
    """Ten members that the decoder draws again and again, and two that it hardly ever does."""
    prior = np.full(1000, 1e-3)
    q = np.full(1000, 1e-9)
    q[:10] = (1 - q[10:].sum()) / 10
    inside = np.arange(1000) < 12
    made_of = World(prior, inside, {"decoder t=1": q}, {"decoder t=1": 500})
    few = np.zeros(1000, dtype=int)
    few[:10], few[10:12] = 50, 1
    found = estimators.size(made_of.preimage({"decoder t=1": few}))
    assert found.inputs is None
    assert found.effective_size < LEAST_SIZE
    assert f"worth {found.effective_size:.1f} members" in found.why_not
    assert "draw more" in found.why_not
    assert "\n" not in found.why_not


def test_what_sources_of_unknown_density_found_changes_no_estimate():
    made_of = world()
    rng = np.random.default_rng(0)
    counts = {name: rng.multinomial(made_of.draws[name], q) for name, q in made_of.densities.items()}
    plain = made_of.preimage(counts)
    everything = made_of.preimage(counts, extra={"edits": np.full(2000, 3)})
    assert everything.n_inside == 300 > plain.n_inside
    for estimate in (estimators.size, estimators.reach, estimators.recall, estimators.unseen_mass):
        assert estimate(everything) == estimate(plain), estimate
    assert estimators.at_least(everything)[0] == estimators.at_least(plain)[0]


@pytest.mark.parametrize("name", WORLDS)
def test_reach_is_the_share_of_the_prior_that_was_found(name):
    truths = [run.mass / WORLDS[name].truth for run in runs(name)]
    found = [run.reach for run in runs(name)]
    assert np.mean([covered(one.interval, truth) for one, truth in zip(found, truths, strict=True)]) >= 0.9
    assert np.mean([one.share for one in found]) == pytest.approx(np.mean(truths), rel=0.03)
    assert [one.n for one in found] == [run.found for run in runs(name)]


def test_an_exact_preimage_is_exact():
    [found] = exact_preimages(
        probed(), few_sums(), [query("500+990=1490", site="x0.post")], criterion=Criterion.parse(0.5)
    )
    size = estimators.size(found)
    assert 1 < len(found) < 1156
    assert (size.inputs, size.interval, size.bits_interval, size.why_not) == (len(found), None, None, None)
    assert size.bits == pytest.approx(math.log2(1156 / len(found)), abs=1e-5)
    assert size.effective_size == len(found)
    assert estimators.reach(found) == (1.0, None, len(found), None)
    for estimate in (estimators.unseen_mass, estimators.recall, estimators.at_least):
        assert estimate(found)[0] is None
        assert estimate(found).why_not


def test_the_bits_of_an_exact_preimage_are_of_the_prior():
    tilted = few_sums(3.0)
    [found] = exact_preimages(
        probed(), tilted, [query("500+990=1490", at="A4", site="x0.post")], criterion=Criterion.parse(0.5)
    )
    four_digits = tilted.position_of(tilted.rows, "A4") >= 0
    mass = tilted.log_prior(tilted.rows[four_digits]).double().exp().sum().item()
    own = np.exp(found.log_prior).sum()
    assert estimators.size(found).bits == pytest.approx(math.log2(mass / own), abs=1e-5)
    assert estimators.size(found).bits != pytest.approx(math.log2(int(four_digits.sum()) / len(found)), abs=0.01)


def test_an_exact_preimage_of_nothing_has_no_bits():
    [found] = exact_preimages(
        probed(), few_sums(), [query("615+861=1476", site="x0.post")], criterion=Criterion.parse(1e-6)
    )
    size = estimators.size(found)
    assert (len(found), size.inputs, size.bits) == (0, 0.0, math.inf)
    assert size.why_not == "no input is inside ε"


def test_good_turing_estimates_the_mass_that_the_decoder_did_not_draw():
    made_of, held, errors = world(2000, 400, (100, 500, 100)), [], []
    q = made_of.densities["decoder t=1"]
    for seed in range(200):
        preimage = made_of.draw(seed)
        drawn = np.zeros(2000, dtype=bool)
        own = [row for row, times in zip(map(int, preimage.inputs), preimage.sources, strict=True)
               if "decoder t=1" in times]  # fmt: skip
        drawn[own] = True
        truth = q[made_of.inside & ~drawn].sum() / q[made_of.inside].sum()
        found = estimators.unseen_mass(preimage)
        held.append(covered(found.interval, truth))
        errors.append(found.share - truth)
    assert np.mean(held) >= 0.9
    assert abs(np.mean(errors)) < 0.01


def test_good_turing_by_hand():
    counts = {"decoder t=1": np.array([1, 1, 2, 4, 0, 9]), "decoder t=2": np.array([0, 0, 0, 0, 5, 0])}
    made_of = World(
        np.full(6, 1 / 6), np.array([True] * 5 + [False]), dict.fromkeys(counts, np.full(6, 1 / 6)), {}
    )  # fmt: skip
    found = estimators.unseen_mass(made_of.preimage(counts))
    assert (found.share, found.n) == (2 / 8, 8)
    error = 1.959964 * math.sqrt(2 * (1 - 2 / 8) + 2 * 1) / 8
    assert found.interval == pytest.approx((0, 2 / 8 + error))
    assert estimators.unseen_mass(made_of.preimage(counts), "decoder t=2")[::2] == (0.0, 5)
    assert estimators.unseen_mass(made_of.preimage(counts), "decoder t=2").interval == pytest.approx((0, 3 / 5))
    assert estimators.unseen_mass(made_of.preimage(counts), "decoder t=9").why_not == (
        "no draws of a decoder without noise"
    )
    assert estimators.unseen_mass(made_of.preimage(counts).at_epsilon(0.01)).why_not == "no draw is inside ε"


def test_the_prior_is_not_taken_for_the_decoder():
    made_of = world()
    only_prior = {"prior": np.random.default_rng(0).multinomial(300, made_of.prior)}
    assert estimators.unseen_mass(made_of.preimage(only_prior)).share is None
    assert estimators.unseen_mass(made_of.preimage(only_prior), "prior").share > 0.5


def test_recall_is_the_share_of_the_preimage_that_the_others_found():
    made_of, held, errors = world(2000, 400, (800, 200, 200), tilt=3.0), [], []
    for seed in range(200):
        preimage = made_of.draw(seed)
        others = np.array([any(name != "prior" for name in times) for times in preimage.sources])
        truth = float(np.exp(preimage.log_prior[preimage.inside & others]).sum()) / made_of.truth
        found = estimators.recall(preimage)
        held.append(covered(found.interval, truth))
        errors.append(found.share - truth)
    assert np.mean(held) >= 0.92
    assert abs(np.mean(errors)) < 0.01


def test_recall_by_hand_counts_repeated_draws_of_the_prior():
    counts = {"prior": np.array([3, 1, 1, 0, 2]), "decoder t=1": np.array([1, 0, 0, 7, 1])}
    made_of = World(np.full(5, 0.2), np.array([True] * 4 + [False]), dict.fromkeys(counts, np.full(5, 0.2)), {})
    found = estimators.recall(made_of.preimage(counts))
    assert (found.share, found.n) == (3 / 5, 5)
    assert found.interval == pytest.approx(tuple(stats.binomtest(3, 5).proportion_ci(0.95, "exact")))
    assert estimators.recall(made_of.preimage({"prior": counts["prior"]})).why_not == (
        "it takes draws from the prior, and others"
    )
    assert estimators.recall(made_of.preimage({"decoder t=1": counts["decoder t=1"]})).share is None
    none = estimators.recall(made_of.preimage(counts | {"prior": np.array([0, 0, 0, 0, 5])}))
    assert none.why_not == "no draw from the prior is inside ε"


@pytest.mark.parametrize("n", [1, 2, 7, 50, 2000])
def test_clopper_pearson_is_that_of_scipy(n):
    for hits in {0, 1, n // 3, n - 1, n}:
        expected = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
        assert clopper_pearson(hits, n) == pytest.approx(tuple(expected), abs=1e-9)
    assert clopper_pearson(n, n, 0.5) == pytest.approx(tuple(stats.binomtest(n, n).proportion_ci(0.5, "exact")))


def test_clopper_pearson_takes_parts_of_a_hit():
    low, high = clopper_pearson(2.5, 7.3)
    assert clopper_pearson(2, 7.3).low < low < 2.5 / 7.3 < high < clopper_pearson(3, 7.3).high


def two_sources(shared: float) -> World:
    """Two sources that draw mostly from `shared` of the members, the more so the smaller it is."""
    n, inside = 1000, np.arange(3000) < 1000
    q = np.where(inside, np.where(np.arange(3000) < shared * n, 0.9 / (shared * n), 0.1 / n), 0.0)
    q /= q.sum()
    densities = {"decoder t=1": q, "decoder t=2": q}
    return World(np.full(3000, 1 / 3000), inside, densities, {"decoder t=1": 300, "decoder t=2": 300})


@pytest.mark.parametrize(("shared", "low", "high"), [(1.0, 0.85, 1.0), (0.5, 0.4, 0.7), (0.1, 0.05, 0.3)])
def test_capture_and_recapture_is_a_lower_bound(shared, low, high):
    """The more the sources depend on each other, the lower."""
    preimages = [two_sources(shared).draw(seed) for seed in range(100)]
    found = [estimators.at_least(preimage) for preimage in preimages]
    bounds = np.array([one.bound for one in found])
    assert (bounds <= 1000).mean() >= 0.93
    assert all(one.bound >= p.n_inside for one, p in zip(found, preimages, strict=True))
    assert low < np.median([one.inputs for one in found]) / 1000 < 1.1 * high
    assert np.median(bounds) <= 1000 * high
    assert {one.between for one in found} <= {("decoder t=1", "decoder t=2"), ("decoder t=2", "decoder t=1")}


def test_capture_and_recapture_by_hand():
    counts = {
        "prior": np.array([1, 0, 0, 0, 0, 0, 9]),
        "decoder t=1": np.array([2, 1, 1, 1, 0, 0, 9]),
        "decoder t=2": np.array([0, 5, 1, 0, 1, 0, 9]),
    }
    made_of = World(np.full(7, 1 / 7), np.array([True] * 6 + [False]), dict.fromkeys(counts, np.full(7, 1 / 7)), {})
    found = estimators.at_least(made_of.preimage(counts))
    assert found.between == ("decoder t=1", "decoder t=2")
    assert found.inputs == pytest.approx(5 * 4 / 3 - 1)
    spread = math.sqrt(5 * 4 * (4 - 2) * (3 - 2) / (3**2 * 4)) / found.inputs
    assert found.bound == pytest.approx(max(5, found.inputs * math.exp(-1.644854 * spread)))
    alone = estimators.at_least(made_of.preimage({"prior": counts["prior"]}))
    assert alone == (None, None, None, "it takes two sources that found members")
    blind = counts | {"prior": np.zeros(7, int), "decoder t=2": np.array([0, 0, 0, 0, 0, 0, 1])}
    assert estimators.at_least(made_of.preimage(blind)).why_not == "it takes two sources that found members"
    assert estimators.at_least(made_of.preimage({})).bound is None


SITE = "x0.post"
COLD, WARM = 0.25, 1.0


@pytest.fixture(scope="module")
def activation():
    asked = query("500+990=1490", site=SITE)
    return probed().capture(torch.tensor([asked.tokens]), [SITE], asked.position).popitem()[1][0]


def drawn(activation, n: int, temperature: float, seed: int = 0) -> torch.Tensor:
    index = torch.tensor([SITES.index(SITE)])
    generator = torch.Generator().manual_seed(seed)
    return sample(decoder(), activation[None], index, n, temperature=temperature, generator=generator).tokens[0]


@pytest.fixture(scope="module")
def likely(activation) -> Preimage:
    """Rows that this decoder often draws, as if they were an exact preimage, with an uneven prior."""
    rows = torch.cat([drawn(activation, 200, COLD), drawn(activation, 60, WARM)]).unique(dim=0).numpy()
    prior = np.random.default_rng(0).dirichlet(np.ones(len(rows)))
    made_of = made(np.arange(len(rows)), np.ones(len(rows), bool), exact=True, log_prior=np.log(prior))
    return dataclasses.replace(made_of, tokens=rows, query=query("500+990=1490", site=SITE))


def test_the_expected_reach_is_the_sum_over_the_preimage(likely, activation):
    """One input at a time, with the decoder's own log-probability."""
    z, index = activation[None], torch.tensor([SITES.index(SITE)])
    tokens = torch.from_numpy(likely.tokens)
    q = np.array([math.exp(decoder().log_prob(row[None], z, index).item()) for row in tokens])
    prior = np.exp(likely.log_prior)
    missed = (1 - q) ** 20 * (1 - prior) ** 5
    found = expected_reach(likely, decoder(), activation, [(1.0, 20), (None, 5)])
    assert found.share == pytest.approx((prior * (1 - missed)).sum(), rel=1e-4)
    assert (found.interval, found.n) == (None, len(likely))
    assert 0.01 < found.share < 0.9


def test_the_expected_reach_is_what_draws_reach_on_average(likely, activation):
    runs, n, m = 150, 6, 3
    cold = drawn(activation, runs * n, COLD, seed=1).view(runs, n, -1)
    warm = drawn(activation, runs * m, WARM, seed=2).view(runs, m, -1)
    prior = np.exp(likely.log_prior)
    weight = {tuple(row): p for row, p in zip(likely.tokens.tolist(), prior, strict=True)}
    reached = []
    for rows in torch.cat([cold, warm], dim=1).tolist():
        reached.append(sum(weight.get(row, 0.0) for row in {tuple(row) for row in rows}))
    found = expected_reach(likely, decoder(), activation, [(COLD, n), (WARM, m)])
    assert found.share == pytest.approx(np.mean(reached), abs=4 * np.std(reached) / math.sqrt(runs))
    assert np.std(reached) / math.sqrt(runs) < 0.1 * found.share
    alone = expected_reach(likely, decoder(), activation, [(COLD, n)])
    assert alone.share < found.share


def test_the_expected_reach_from_some_of_the_members_has_an_interval(likely, activation):
    even = dataclasses.replace(likely, log_prior=np.full(len(likely), -5.0))
    whole = expected_reach(even, decoder(), activation, [(COLD, 20)]).share
    parts = [expected_reach(even, decoder(), activation, [(COLD, 20)], at_most=60, seed=seed) for seed in range(40)]
    assert len(likely) > 90
    assert {part.n for part in parts} == {60}
    assert np.mean([part.share for part in parts]) == pytest.approx(whole, rel=0.2)
    assert np.mean([covered(part.interval, whole) for part in parts]) >= 0.8
    assert parts[0] == expected_reach(even, decoder(), activation, [(COLD, 20)], at_most=60, seed=0)
    assert expected_reach(even, decoder(), activation, [(COLD, 20)], at_most=len(even)).share == whole


def test_the_expected_reach_needs_an_exact_preimage_with_members(likely, activation):
    with pytest.raises(UserError, match="the expected reach is of an exact preimage: use exact_preimage"):
        expected_reach(dataclasses.replace(likely, exact=False), decoder(), activation, [(1.0, 5)])
    [empty] = exact_preimages(probed(), few_sums(), [query("615+861=1476", site=SITE)], criterion=Criterion.parse(1e-6))
    found = expected_reach(empty, decoder(), activation, [(1.0, 5)])
    assert found == (None, None, 0, "no input is inside ε")
