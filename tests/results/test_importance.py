"""Against sums by hand, and against what happens in simulated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from inversionview.results.importance import effective_size, inclusion, log_mixture, pareto_tail


def densities(components: int, candidates: int, seed: int = 0) -> np.ndarray:
    """log q of every candidate under each component, which add up to 1."""
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(candidates, 0.5), size=components))


def test_the_mixture_is_the_sum_over_components_in_proportion_to_their_draws():
    log_q, n = densities(3, 7), (5, 10, 85)
    by_hand = [math.log(sum(k / 100 * math.exp(q) for k, q in zip(n, column, strict=True))) for column in log_q.T]
    np.testing.assert_allclose(log_mixture(log_q, n), by_hand, rtol=1e-12)
    assert np.exp(log_mixture(log_q, n)).sum() == pytest.approx(1)
    np.testing.assert_allclose(log_mixture(log_q[:1], [9]), log_q[0], atol=1e-12)
    np.testing.assert_allclose(log_mixture(log_q - 2000, n), log_mixture(log_q, n) - 2000, rtol=1e-12)


def test_weights_by_the_mixture_estimate_sums_over_everything():
    """The balance heuristic: the mean of f(x) / q(x) over all draws is the sum of f."""
    log_q, n = densities(2, 12), (30_000, 10_000)
    rng = np.random.default_rng(1)
    f = rng.uniform(0.1, 1, 12)
    drawn = np.concatenate([rng.choice(12, size=k, p=np.exp(q)) for k, q in zip(n, log_q, strict=True)])
    estimate = (f / np.exp(log_mixture(log_q, n)))[drawn].mean()
    assert estimate == pytest.approx(f.sum(), rel=0.03)


def test_inclusion_is_one_minus_the_product_of_missing_every_time():
    log_q, n = densities(2, 6), (3, 8)
    q = np.exp(log_q)
    np.testing.assert_allclose(inclusion(log_q, n), 1 - (1 - q[0]) ** 3 * (1 - q[1]) ** 8, rtol=1e-12)


def test_inclusion_is_how_often_an_input_is_among_the_draws():
    log_q, n, runs = densities(2, 6), (4, 9), 20_000
    rng = np.random.default_rng(2)
    counts = sum(rng.multinomial(k, np.exp(q), size=runs) for k, q in zip(n, log_q, strict=True))
    np.testing.assert_allclose(inclusion(log_q, n), (counts > 0).mean(axis=0), atol=0.015)


def test_what_is_sure_or_next_to_impossible_to_be_drawn_keeps_its_digits():
    log_q = np.array([[0.0, math.log(1e-30), -500.0, -np.inf]])
    found = inclusion(log_q, [1000])
    assert found[0] == 1
    np.testing.assert_allclose(found[1:3], [1e-27, 1000 * math.exp(-500)], rtol=1e-9)
    assert 0 < found[3] < 1e-300, "a weight can still be divided by it"
    assert inclusion(np.array([[1e-6]]), [1])[0] == 1, "rounding above 1 counts as 1"


def test_equal_rare_members_count_one_each_and_unequal_ones_less():
    rare = np.full(40, 1e-9)
    assert effective_size(np.full(40, 7.0), rare) == pytest.approx(40)
    weights = np.array([3.0, 1.0, 1.0, 1.0])
    assert effective_size(weights, rare[:4]) == pytest.approx(36 / 12)
    assert effective_size(9 * weights, rare[:4]) == pytest.approx(3)
    assert effective_size(weights[:0], rare[:0]) == 0


def test_what_was_sure_to_be_drawn_is_not_uncertain():
    weights = np.array([5.0, 1.0, 1.0])
    assert effective_size(weights, np.array([1.0, 0.5, 0.5])) == pytest.approx(49 / (0.5 + 0.5))
    assert effective_size(weights, np.ones(3)) == pytest.approx(1e9)


def test_the_effective_size_says_how_far_totals_of_weights_scatter():
    """Over many samples, Σw²(1 - π) has the variance of Σw as its mean, members drawn independently of each other."""
    rng = np.random.default_rng(3)
    chance, prior = rng.uniform(0.05, 1, 60), rng.uniform(0.5, 2, 60)
    drawn = rng.random((20_000, 60)) < chance
    weights = prior / chance
    totals = (drawn * weights).sum(axis=1)
    claimed = [totals[i] ** 2 / effective_size(weights[drawn[i]], chance[drawn[i]]) for i in range(2000)]
    assert totals.mean() == pytest.approx(prior.sum(), rel=0.01)
    assert np.mean(claimed) == pytest.approx(totals.var(), rel=0.05)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4, 0.7, 1.2])
def test_the_shape_of_a_tail_is_found(shape):
    tails = [
        pareto_tail(stats.genpareto.rvs(shape, loc=1, scale=2, size=8000, random_state=seed)) for seed in range(20)
    ]
    assert {tail.n for tail in tails} == {int(3 * math.sqrt(8000))}
    assert np.mean([tail.k for tail in tails]) == pytest.approx(shape, abs=0.08)
    assert np.std([tail.k for tail in tails]) < 0.12 * (1 + abs(shape))


def test_a_tail_of_real_importance_weights():
    """Exponential draws at rate 1 weighted to rate r: w = r exp((1 - r) x), whose upper tail has the shape 1 - r."""
    x = np.random.default_rng(0).exponential(size=50_000)
    for rate in (0.3, 0.7):
        assert pareto_tail(rate * np.exp((1 - rate) * x)).k == pytest.approx(1 - rate, abs=0.15)
    light = pareto_tail(np.random.default_rng(1).uniform(1, 2, 50_000))
    assert light.k < -0.5, "bounded weights have no tail"


def test_a_tail_does_not_depend_on_scale_order_or_zeros():
    weights = np.random.default_rng(0).pareto(2, 500)
    tail = pareto_tail(weights)
    assert pareto_tail(1e-200 * weights).k == pytest.approx(tail.k, rel=1e-6)
    assert pareto_tail(weights[::-1]) == tail
    assert pareto_tail(np.concatenate([np.zeros(300), weights])) == tail


def test_too_few_or_equal_weights_have_no_tail():
    few = pareto_tail(np.random.default_rng(0).pareto(1, 24))
    assert math.isnan(few.k)
    assert few.n == 4
    assert not math.isnan(pareto_tail(np.random.default_rng(0).pareto(1, 25)).k)
    assert math.isnan(pareto_tail(np.ones(1000)).k)
    assert math.isnan(pareto_tail(np.zeros(0)).k)
