"""Maps from draws, against exact maps of the same domain."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

from inversionview.reading.feature_map import feature_map
from inversionview.reading.information import chosen_features, entropy
from inversionview.reading.sampled_map import sampled_map
from tests.preimage.given import given_sums
from tests.preimage.tiny import FewSums, few_sums, probed

SITES = ("x0.post", "x1.post")
ROLES = ("F3", "=", "A4")
EPSILON = {(site, role): 0.45 for site in SITES for role in ROLES}


@functools.cache
def queries(n: int = 4) -> dict[str, torch.Tensor]:
    drawn = given_sums().sample(60, generator=torch.Generator().manual_seed(5))
    return {"F3": drawn[:n], "=": drawn[:n], "A4": drawn[drawn[:, 12] < 10][:n]}


@functools.cache
def exact():
    return feature_map(probed(), given_sums(), SITES, queries(), epsilon=EPSILON)


def estimated(draws=4000, given=200, seed=0, task=None, **changes):
    generator = torch.Generator().manual_seed(seed)
    options = {"epsilon": EPSILON, "draws": draws, "draws_given": given} | changes
    return sampled_map(probed(), task or given_sums(), SITES, queries(), generator=generator, **options)


def test_estimates_are_near_the_exact_map_and_know_how_near():
    for said, truth in zip(estimated(20_000, 500), exact(), strict=True):
        assert (said.site, said.role, said.features) == (truth.site, truth.role, truth.features)
        assert said.effective.min() > 100
        np.testing.assert_allclose(said.of, truth.of, atol=0.03)
        assert (np.abs(said.size_bits - truth.size_bits) < 5 * said.size_se + 0.02).all()
        assert (np.abs(said.bits - truth.bits) < 5 * said.bits_se + 0.05).all()
        assert (np.abs(said.divergence - truth.divergence) < 5 * said.bits_se + 0.15).all()


@pytest.mark.parametrize("given", [0, 60])
def test_the_truth_lies_within_two_standard_errors_as_often_as_it_should(given):
    sizes, bits = [], []
    for seed in range(12):
        for said, truth in zip(estimated(1500, given, seed), exact(), strict=True):
            enough = said.effective >= 30
            sizes += list((np.abs(said.size_bits - truth.size_bits) <= 2 * said.size_se)[enough])
            apart = np.abs(said.bits - truth.bits) <= 2 * said.bits_se + 0.01  # of is an estimate too
            bits += list(apart[enough][:, truth.of > 0].ravel())
    assert len(sizes) > 100
    assert np.mean(sizes) > 0.92
    assert np.mean(bits) > 0.9


def test_draws_given_the_query_make_narrow_preimages_known():
    for with_them, without in zip(estimated(1000, 300), estimated(1000, 0), strict=True):
        assert (with_them.effective > 0).all()
        assert with_them.effective.mean() > without.effective.mean()


def test_a_task_without_conditions_is_drawn_from_alone():
    with_none = estimated(800, 500, task=few_sums(3.0))
    for said, same in zip(with_none, estimated(800, 0), strict=True):
        np.testing.assert_allclose(said.bits, same.bits, atol=1e-9)


def test_numbers_are_those_of_a_count_over_the_draws():
    """Without conditions every draw counts for one: entropies by hand, of the inputs that come within epsilon."""
    task, n = given_sums(), 700
    [said] = [cell for cell in estimated(n, 0, seed=3) if (cell.site, cell.role) == ("x0.post", "=")]
    drawn = task.sample(n, generator=torch.Generator().manual_seed(3))
    [z], [own] = (probed().capture(rows, ["x0.post"], 8).values() for rows in (drawn, queries()["="]))
    inside = ((z[None] - own[:, None]).norm(dim=2) / own.norm(dim=1)[:, None]) <= 0.45
    for q in range(len(own)):
        rows = drawn[inside[q]]
        assert said.effective[q] == pytest.approx(len(rows))
        assert said.size_bits[q] == pytest.approx(math.log2(n / len(rows)))
        assert said.size_se[q] == pytest.approx(1 / math.sqrt(len(rows)) / math.log(2))
        for i, feature in enumerate(chosen_features(task)):
            values = len(feature.values)
            counts, everyone = (
                torch.bincount(feature.compute(some, torch.full((len(some),), 8)), minlength=values).double().numpy()
                for some in (rows, drawn)
            )
            corrected = entropy(counts) + ((counts > 0).sum() - 1) / (2 * len(rows) * math.log(2))
            wanted = entropy(everyone) - min(corrected, math.log2(values))
            assert said.bits[q, i] == pytest.approx(wanted, abs=1e-5), feature.name


def test_small_blocks_change_nothing_but_rounding(monkeypatch):
    whole = estimated(600, 40)
    monkeypatch.setattr("inversionview.reading.sampled_map._BLOCK", 97)
    monkeypatch.setattr("inversionview.reading.sampled_map._CHUNK", 600)
    for cut, cell in zip(estimated(600, 40), whole, strict=True):
        np.testing.assert_allclose(cut.bits, cell.bits, atol=1e-4)
        np.testing.assert_allclose(cut.effective, cell.effective, rtol=1e-4)


def test_without_a_member_nothing_is_effective():
    tight = dict.fromkeys(EPSILON, 1e-6)
    for cell in estimated(50, 0, epsilon=tight, task=FewSums(range(300, 320))):
        assert (cell.effective == 0).all()


def test_cells_without_an_epsilon_are_left_out():
    some = dict.fromkeys(list(EPSILON)[:2], 0.45)
    assert {(cell.site, cell.role) for cell in estimated(200, 0, epsilon=some)} == set(some)
