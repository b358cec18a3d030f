"""Members in typical order: drawn by weight, and said to be trusted as far as they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import chisquare

from inversionview.results.preimage import Preimage
from inversionview.results.trust import FAIR_MEMBERS, GOOD_MEMBERS, GOOD_SIZE
from inversionview.results.typical import DRAWN, typical_order, typical_rows
from tests.reading.sixty import exact as exact_ones
from tests.reading.sixty import sampled as sampled_ones
from tests.results.preimages import exact, made, unknown, weighed

ROWS = 12


def fits(preimage: Preimage, rows: list[list[str]]) -> float:
    """p-value of rows, one list a seed, being drawn by weight; what is too rare to count is taken together."""
    weights = dict(zip(preimage.inputs, preimage.member_shares, strict=True))
    names = sorted(weights, key=lambda text: -weights[text])
    drawn = [text for some in rows for text in some]
    frequent = [text for text in names if weights[text] * len(drawn) >= 10]
    seen = [drawn.count(text) for text in frequent]
    expected = [weights[text] * len(drawn) for text in frequent]
    left = len(drawn) - sum(expected)
    if left > 1:
        seen, expected = [*seen, len(drawn) - sum(seen)], [*expected, left]
    return float(chisquare(seen, np.array(expected) * sum(seen) / sum(expected)).pvalue)


def uneven() -> Preimage:
    """A sample whose members are not as likely under the prior, by the order of their distances."""
    found = weighed()
    return dataclasses.replace(found, log_prior=found.log_prior + 1.5 * np.sin(np.arange(len(found))))


@pytest.mark.parametrize("make", [uneven, exact])
def test_twelve_rows_are_drawn_by_weight_and_the_nearest_are_not(make):
    found = make()
    assert found.weights.max() > 1.5 * found.weights[found.weights > 0].min(), "a rule that ignores weights would do"
    seeds = range(300)
    assert fits(found, [found.typical(ROWS, seed) for seed in seeds]) > 1e-3
    assert fits(found, [list(found.members[:ROWS]) for _ in seeds]) < 1e-9
    uniform = [list(np.random.default_rng(seed).choice(found.members, ROWS)) for seed in seeds]
    assert fits(found, uniform) < 1e-9
    assert fits(found, [[found.inputs[found.typical_order(seed)[0]]] for seed in range(3000)]) > 1e-3


def test_the_order_goes_on_as_draws_without_repeats_do():
    """The third of four rows, after the draws that both rules share: by hand, from all orders."""
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    orders = np.array([typical_order(weights, seed=seed) for seed in range(4000)])
    expected = np.zeros((4, 4))
    for first in range(4):
        for second in set(range(4)) - {first}:
            chance = weights[first] * weights[second] / (1 - weights[first])
            for third in set(range(4)) - {first, second}:
                expected[2, third] += chance * weights[third] / (1 - weights[first] - weights[second])
    third = np.bincount(orders[:, 2], minlength=4)
    assert chisquare(third, expected[2] * 4000).pvalue > 1e-3
    many = np.repeat([1.0, 3.0], 3000)
    half = [typical_order(many, seed=seed)[DRAWN:3000] for seed in range(5)]
    assert all(len(set(order.tolist())) == len(order) for order in half)
    assert 0.6 < np.mean(np.concatenate(half) >= 3000) < 0.75, "behind the draws, heavier rows still come first"


def test_a_few_rows_are_the_beginning_of_more():
    for make in (weighed, exact, made, unknown):
        found = make()
        assert found.typical(5, seed=3) == found.typical(12, seed=3)[:5]
        assert len(found.typical(12)) == 12
        order = [found.inputs[row] for row in found.typical_order(seed=3)]
        assert order[: len(set(found.typical(DRAWN, 3)))] == list(dict.fromkeys(found.typical(DRAWN, 3)))
        assert sorted(order) == sorted(found.members)
        assert found.typical(4, seed=0) == found.typical(4)


def test_nothing_is_drawn_of_nothing():
    none = made().at_epsilon(1e-9)
    assert none.n_inside in (0, 1)
    empty = dataclasses.replace(none, in_domain=np.zeros(len(none), dtype=bool))
    assert empty.typical(5) == []
    assert len(empty.typical_order()) == 0
    assert len(typical_rows(np.zeros(3), 5)) == 0


def test_members_whose_weight_is_unknown_come_last():
    found = weighed()
    order = found.typical_order()
    weights = found.weights[order]
    assert (weights == 0).any()
    assert (np.flatnonzero(weights == 0)[0] == np.count_nonzero(weights)).all()
    assert set(order.tolist()) == set(np.flatnonzero(found.inside).tolist())


def test_without_weights_each_member_is_as_likely():
    found = unknown()
    assert (found.weighted, weighed().weighted) == (False, True)
    assert fits(found, [found.typical(ROWS, seed) for seed in range(200)]) > 1e-3
    assert {sample.weight for sample in found.to_reading().samples} == {None}


def test_a_reading_has_the_order_of_its_rows():
    for make in (weighed, exact, made):
        found, reading = make(), make().to_reading()
        texts = [found.inputs[row] for row in found.typical_order()]
        assert ["".join(reading.samples[i].tokens[1:-1]) for i in reading.typical] == texts
        if reading.weighted:
            assert sum(sample.weight for sample in reading.samples) == pytest.approx(1)
        assert found.to_dict()["typical"] == list(reading.typical)


def test_a_large_exact_reading_shows_typical_members_and_the_nearest(monkeypatch):
    monkeypatch.setattr("inversionview.results.preimage.SHOWN", 63)
    found = max(exact_ones(), key=len)
    assert len(found) > 400
    reading = found.to_reading()
    rows = [found.inputs.index("".join(sample.tokens[1:-1])) for sample in reading.samples]
    assert rows == sorted(rows)
    assert set(rows) == {0, 1, 2} | set(found.typical_order()[:60].tolist())
    assert [rows[i] for i in reading.typical][:60] == found.typical_order()[:60].tolist()
    assert len(reading.typical) == len(rows)
    assert [sample.weight for sample in reading.samples] == pytest.approx(found.weights[rows].tolist())
    assert reading.counts.inside == len(found)
    assert reading.patterns == found.patterns


def test_what_is_exact_is_good_and_what_has_no_size_cannot_be_said():
    assert exact().trust.level == "good"
    assert "1,156 inputs of the domain were run" in exact().trust.reason
    assert (unknown().trust.level, unknown().trust.reason) == (
        "cannot say", "no source of these draws has a known density"
    )  # fmt: skip
    assert exact().at_epsilon(1e-12).trust.level in ("cannot say", "good")
    assert dataclasses.replace(exact(), rounding=0.7).trust.level == "cannot say"
    assert made().trust.level == "cannot say"


def test_trust_is_what_the_size_is_worth():
    levels = {level: [] for level in ("good", "fair", "cannot say")}
    for sample, whole in zip(sampled_ones(), exact_ones(), strict=True):
        levels[sample.trust.level].append(sample)
        if sample.trust.level == "good":
            size = sample.to_dict()["size"]
            assert sample.effective_size >= GOOD_MEMBERS
            assert max(size["inputs"] / len(whole), len(whole) / size["inputs"]) < GOOD_SIZE
            assert "size within" in sample.trust.reason
        if sample.effective_size < FAIR_MEMBERS:
            assert sample.trust.level == "cannot say"
        assert "\n" not in sample.trust.reason
    assert all(len(some) >= 5 for some in levels.values()), "a line that always says the same says nothing"
