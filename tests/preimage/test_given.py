"""Draws from the prior given what inputs share with the query: their densities, and what is estimated from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import (
    DecoderSource,
    GivenDensity,
    PriorGivenSource,
    PriorSource,
    given_sources,
)
from inversionview.reading.information import preimage_bits
from inversionview.results.estimators import at_least, recall, size, unseen_mass
from inversionview.results.preimage import Preimage
from inversionview.tasks import get_task
from tests.preimage.given import given_sums
from tests.preimage.tiny import decoder, few_sums, probed, query, rows, with_criterion

TEXT = "500+990=1490"


def sources(n: int = 400, given: int = 300) -> list:
    task = given_sums()
    return [PriorSource(task, n), *(PriorGivenSource(task, name, given) for name in ("first", "digits"))]


def find(asked, drawn, seed=0, **changes) -> Preimage:
    options = {"epsilon": 0.4, "seed": seed} | changes
    return sampled_preimages(probed(), given_sums(), [asked], drawn, **with_criterion(options))[0]


def test_densities_are_those_of_the_prior_within_the_condition_and_zero_outside():
    task, asked = given_sums(), query(TEXT, at="=", site="x0.post")
    found = find(asked, sources())
    assert [part.source for part in found.components] == ["prior", "prior given first", "prior given digits"]
    assert [part.n for part in found.components] == [400, 300, 300]
    assert [part.is_given for part in found.components] == [False, True, True]
    assert found.n_drawn == 1000
    prior = np.exp(task.log_prior(task.rows).double().numpy())
    texts = [task.decode(row) for row in task.rows]
    met = np.array([[text.startswith("500+") for text in texts], [len(text) == 12 for text in texts]])
    for row, text in enumerate(found.inputs):
        i = texts.index(text)
        expected = [prior[i], *(prior[i] * meets[i] / prior[meets].sum() for meets in met)]
        np.testing.assert_allclose(np.exp(found.log_densities[:, row]), expected, rtol=1e-5)
    for k, name in enumerate(found.components):
        drew = [name.source in times for times in found.sources]
        assert np.isfinite(found.log_densities[k, drew]).all(), "what a source drew has a density under it"
        assert sum(drew) > 10


def test_densities_outside_the_domain_are_not_known():
    from tests.preimage.tiny import Fixed

    asked = query(TEXT)
    found = find(asked, [*sources(), Fixed(rows("B500+990=1491E", "B5E"))])
    outside = ~found.in_domain
    assert outside.sum() == 2
    assert np.isnan(found.log_densities[:, outside]).all()
    assert not np.isnan(found.log_densities[:, ~outside]).any()


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_density_of_zero_is_kept_in_files(tmp_path, suffix):
    found = find(query(TEXT), sources(60, 40))
    assert np.isneginf(found.log_densities).any()
    found.save(tmp_path / f"p{suffix}")
    again = Preimage.load(tmp_path / f"p{suffix}")
    np.testing.assert_array_equal(again.log_densities, found.log_densities)
    np.testing.assert_array_equal(again.weights, found.weights)
    assert again.components == found.components


def test_size_and_bits_hold_the_truth_as_often_as_they_say():
    task = given_sums()
    for asked, epsilon in ((query(TEXT, at="=", site="x0.post"), 0.4), (query(TEXT, at="A2", site="a0.1"), 0.25)):
        [exact] = exact_preimages(probed(), task, [asked], criterion=Criterion.parse(epsilon))
        truth, bits = size(exact), {f.name: f.bits for f in preimage_bits(exact, task)}
        assert 8 < exact.n_inside < 500
        held, seeds = [], 40
        for seed in range(seeds):
            found = find(asked, sources(150, 60), seed, epsilon=epsilon)
            estimate = size(found)
            held.append(estimate.bits_interval.low <= truth.bits <= estimate.bits_interval.high)
            for known in preimage_bits(found, task, ("S1", "F1+S1", "C3")):
                low, high = known.interval
                held.append(low - 1e-9 <= bits[known.name] <= high + 1e-9)
        sizes, known = held[::4], [one for i, one in enumerate(held) if i % 4]
        assert np.mean(sizes) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / seeds)
        assert np.mean(known) > 0.85


def test_estimates_have_no_bias_where_a_condition_is_met_by_few_members():
    """The condition is about the first number, and the preimage holds many of them."""
    asked = query(TEXT, at="A2", site="a0.1")
    [exact] = exact_preimages(probed(), given_sums(), [asked], criterion=Criterion.parse(0.25))
    same = [text.startswith("500+") for text in exact.members]
    assert 0 < sum(same) < len(same)
    truth = np.exp(exact.log_prior).sum()
    masses = [2.0 ** -size(find(asked, sources(150, 60), seed, epsilon=0.25)).bits for seed in range(40)]
    assert np.mean(masses) == pytest.approx(truth, abs=4 * np.std(masses) / math.sqrt(len(masses)))


def test_conditioned_draws_make_narrow_preimages_known():
    asked = query(TEXT, at="=", site="x1.post")
    [exact] = exact_preimages(probed(), given_sums(), [asked], criterion=Criterion.parse(0.4))
    with_them = find(asked, [PriorSource(given_sums(), 100), PriorGivenSource(given_sums(), "first", 100)])
    without = find(asked, [PriorSource(given_sums(), 200)])
    assert 1 < exact.n_inside < 60
    assert with_them.n_inside > 3 * without.n_inside
    assert with_them.effective_size > 1.2 * without.effective_size


def test_they_are_not_taken_for_draws_of_a_decoder_nor_for_captures():
    asked = query(TEXT, at="=", site="x0.post")
    found = find(asked, [*sources(), DecoderSource(decoder(), 20)])
    assert unseen_mass(found).n == unseen_mass(found, "decoder t=1").n
    assert "prior given" in str(found.sources)
    bound = at_least(find(asked, sources()))
    assert bound.bound is None, "the prior is the only free source"
    assert recall(found).n > 0


def test_given_names_one_condition_or_shares_the_draws_among_all():
    task = given_sums()
    assert [(s.name, s.n) for s in given_sources(task, "given", 101)] == [
        ("prior given first", 51),
        ("prior given digits", 50),
    ]
    [one] = given_sources(task, "given:digits", 101)
    assert (one.name, one.n, one.density) == ("prior given digits", 101, GivenDensity("digits"))
    with pytest.raises(UserError, match="no condition 'last': use given, or given:first, given:digits"):
        given_sources(task, "given:last", 10)
    with pytest.raises(UserError, match="addition cannot draw from its prior given what inputs share: leave out given"):
        given_sources(few_sums(), "given", 10)


def test_what_is_drawn_for_a_query_depends_on_it_and_the_seed_alone():
    queries = [query(TEXT), query("100+984=1084"), query("100+100=200")]
    together = sampled_preimages(probed(), given_sums(), queries, sources(20, 20), criterion=Criterion.parse(0.4))
    for asked, found in zip(queries, together, strict=True):
        alone = find(asked, sources(20, 20))
        assert (alone.inputs, alone.sources) == (found.inputs, found.sources)
        np.testing.assert_array_equal(alone.log_densities, found.log_densities)
    assert find(queries[0], sources(20, 20), seed=1).inputs != together[0].inputs


def test_in_counting_draws_given_everything_find_what_the_prior_never_would():
    task = get_task("counting")
    tokens = task.encode("vvzccvczvvvzvcvc|v:8")
    drawn = task.sample_given("counts", tokens, 50, generator=torch.Generator())
    density = task.log_prior(drawn).double() - task.log_mass("counts", tokens)
    torch.testing.assert_close(density.exp(), torch.full((50,), 1 / 720_720).double(), rtol=1e-4, atol=0)
