"""Bits against scipy and counts in plain Python; bits from samples against the exact ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource, mixture
from inversionview.reading import information
from inversionview.reading.information import (
    base_masses,
    chosen_features,
    divergence,
    entropy,
    feature_masses,
    preimage_bits,
)
from inversionview.tasks.base import Feature
from inversionview.tasks.positions import last_eligible
from tests.preimage.tiny import FewSums, Fixed, decoder, few_sums, probed, query, rows, task, with_criterion

MASSES = st.lists(st.floats(0, 1e3).map(lambda x: x if x > 1e-6 else 0.0), min_size=1, max_size=12).filter(any)
ASKED = query("505+495=1000", at="=", site="a0.1")


def features_in_python(text: str) -> dict[str, str]:
    """The value of some features, from the sum as it is written."""
    a, b, c = text.replace("=", "+").split("+")
    return {
        "F1": a[0],
        "S3": b[2],
        "F2+S2": str(int(a[1]) + int(b[1])),
        "C3": "yes" if int(a[2]) + int(b[2]) >= 10 else "no",
        "A1": c[0],
        "A4": c[3] if len(c) == 4 else "none",
        "four digits": "yes" if len(c) == 4 else "no",
    }


def python_masses(few: FewSums, texts, tilt: float, feature: str) -> Counter[str]:
    """Prior mass of each value; `tilt` as the task has it."""
    found: Counter[str] = Counter()
    for text in texts:
        found[features_in_python(text)[feature]] += 1 + tilt * few.numbers.tolist().index(int(text[:3]))
    return found


def exact(asked=ASKED, few=None, **changes):
    [found] = exact_preimages(
        probed(), few or few_sums(tilt=0.1), [asked], **with_criterion({"epsilon": 0.5} | changes)
    )
    return found


def sampled(sources, asked=ASKED, few=None, **changes):
    [found] = sampled_preimages(
        probed(), few or few_sums(tilt=0.1), [asked], sources, **with_criterion({"epsilon": 0.5} | changes)
    )
    return found


@settings(deadline=None)
@given(MASSES)
def test_entropy_is_scipys(masses):
    assert float(entropy(np.array(masses))) == pytest.approx(stats.entropy(masses, base=2), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 1e3), st.floats(0.001, 1e3)), min_size=1, max_size=9))
def test_divergence_is_scipys_and_never_negative(pairs):
    mass, base = np.array(pairs).T
    found = float(divergence(mass, base))
    assert found == pytest.approx(stats.entropy(mass, base, base=2), abs=1e-9)
    assert found > -1e-12
    assert float(divergence(base, base)) == pytest.approx(0, abs=1e-12)


def test_many_distributions_at_once_none_of_mass_and_what_the_base_lacks():
    mass = np.array([[1.0, 1, 0], [0, 5, 0], [0, 0, 0]])
    np.testing.assert_allclose(entropy(mass), [1, 0, 0])
    np.testing.assert_allclose(divergence(mass, np.array([1.0, 1, 0])), [0, 1, 0])
    np.testing.assert_allclose(divergence(mass, np.array([1.0, 0, 1])), [np.inf, np.inf, 0])
    assert entropy(mass[1]) == 0
    assert not np.signbit(entropy(mass[1]))


def test_masses_are_the_weights_of_the_inputs_that_have_each_value():
    few, chosen = few_sums(), chosen_features(few_sums(), ["F1", "A4"])
    tokens = few.sample(50, generator=torch.Generator().manual_seed(0))
    weights = np.random.default_rng(0).random((3, 50))
    positions = torch.full((50,), 8)
    several = feature_masses(chosen, tokens, positions, weights)
    for i, of in enumerate(weights):
        single = feature_masses(chosen, tokens, positions, of)
        for feature, many, one in zip(chosen, several, single, strict=True):
            by_hand = np.zeros(len(feature.values))
            for row, weight in zip(tokens, of, strict=True):
                by_hand[feature.values.index(features_in_python(few.decode(row))[feature.name])] += weight
            np.testing.assert_allclose(many[i], by_hand)
            np.testing.assert_allclose(one, by_hand)
    nothing = feature_masses(chosen, tokens[:0], positions[:0], np.zeros(0))
    assert [mass.tolist() for mass in nothing] == [[0] * len(feature.values) for feature in chosen]


@pytest.mark.parametrize("role", ["A4", "=", None])
def test_the_base_is_the_prior_over_inputs_that_have_the_role(role):
    few = few_sums(tilt=0.1)
    texts = [text for text in map(few.decode, few.rows) if role != "A4" or len(text) == 12]
    base = base_masses(few, role)
    assert list(base) == list(few.features)
    for name in features_in_python(texts[0]):
        expected = python_masses(few, texts, 0.1, name)
        values = few.features[name].values
        assert base[name].sum() == pytest.approx(1)
        np.testing.assert_allclose(base[name], [expected[value] / expected.total() for value in values], rtol=1e-5)


class Endless(FewSums):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.size = None


def test_without_an_end_the_base_is_that_of_draws():
    endless = Endless(few_sums().numbers.tolist(), 0.1)
    for role in ("A4", None):
        expected, found = base_masses(few_sums(tilt=0.1), role), base_masses(endless, role)
        for name, mass in found.items():
            np.testing.assert_allclose(mass, expected[name], atol=0.02)


class WithToken(FewSums):
    """What stands at the position is a feature, too."""

    @property
    def features(self):
        values = tuple("0123456789B+=E_")
        here = Feature("here", values, lambda tokens, at: tokens.gather(1, at[:, None])[:, 0], "the token")
        return {**super().features, "here": here}


def test_a_feature_of_the_position_is_read_where_the_role_is_or_at_the_last():
    few = WithToken([100, 505, 495])
    assert base_masses(few, "+")["here"][11] == pytest.approx(1)
    # 100+100=200, 595, 605, 595, 990, 1000, 605, 1000, 1010
    assert base_masses(few, "A1")["here"][[1, 2, 5, 6, 9]] == pytest.approx(np.array([3, 1, 2, 2, 1]) / 9)
    assert base_masses(few, None)["here"][[0, 5]] == pytest.approx(np.array([5, 4]) / 9)
    assert base_masses(few, "A4")["here"][0] == pytest.approx(1)
    assert last_eligible(few, rows("B100+100=200E", "B505+495=1000E")).tolist() == [11, 12]
    [found] = exact_preimages(
        probed(), few, [query("100+505=605", at="+", site="x0.pre")], criterion=Criterion.parse(0.01)
    )
    [known] = preimage_bits(found, few, ["here"])
    assert (known.of, known.bits) == (0, 0)
    [any_] = exact_preimages(
        probed(),
        few,
        [query("100+505=605", at="F1", site="embed")],
        criterion=Criterion.parse(0.01, position_rule="any"),
    )
    [known] = preimage_bits(any_, few, ["here"])
    assert any_.n_inside == 8, "all but 495+495=990 have a 1"
    assert known.of - known.bits == pytest.approx(0, abs=1e-9), "a 1 is what was found in each"


def test_features_that_look_at_no_position_are_counted_once_for_all_roles_that_every_input_has(monkeypatch):
    few, passes = WithToken([100, 505, 495]), []

    def counted(task, role, features):
        passes.append((role, [feature.name for feature in features]))
        return role_masses(task, role, features)

    role_masses = information._role_masses
    monkeypatch.setattr(information, "_role_masses", counted)
    names = list(few.features)
    for role in ("F1", "=", "A4"):
        by_pass = role_masses(few, role, list(few.features.values()))
        masses = base_masses(few, role)
        assert list(masses) == names
        for name, mass in masses.items():
            np.testing.assert_allclose(mass, by_pass[name], atol=1e-12)
    assert passes[0] == (None, names)
    assert [role for role, _ in passes] == [None, "F1", "=", "A4"]
    for _, some in passes[1:3]:
        assert "here" in some
        assert "F1" not in some
    assert passes[3][1] == names, "A4 is not in every sum"


@pytest.mark.parametrize(("at", "rule"), [("=", "same"), ("A4", "same"), ("A1", "any")])
def test_exact_bits_are_those_of_a_count_in_python(at, rule):
    few = few_sums(tilt=0.1)
    found = exact(query("505+495=1000", at=at, site="a0.1"), position_rule=rule, epsilon=0.6)
    domain = [text for text in map(few.decode, few.rows) if at != "A4" or len(text) == 12]
    assert 5 < found.n_inside < len(domain)
    for known in preimage_bits(found, few, features_in_python(domain[0])):
        base, inside = (python_masses(few, texts, 0.1, known.name) for texts in (domain, found.inputs))
        p, q = [base[value] for value in base], [inside[value] for value in base]
        assert known.of == pytest.approx(stats.entropy(p, base=2), abs=1e-5)
        assert known.bits == pytest.approx(stats.entropy(p, base=2) - stats.entropy(q, base=2), abs=1e-5)
        assert known.divergence == pytest.approx(stats.entropy(q, p, base=2), abs=1e-5)
        assert known.interval is None
        assert known.share == pytest.approx(known.bits / known.of if known.of > 0 else 0, abs=1e-9)


def test_bits_may_be_negative_and_the_divergence_says_then_how_unusual_it_is():
    few, queries = few_sums(), [query("100+497=597", at=at, site="x0.pre") for at in ("F1", "F2", "S2", "S3", "A2")]
    negative = 0
    for found in exact_preimages(probed(), few, queries, criterion=Criterion.parse(0.01)):
        for known in preimage_bits(found, few):
            assert known.divergence > -1e-9
            if known.bits < -0.01:
                negative += 1
                assert known.divergence > 0.001
    assert negative > 2


def test_a_digit_is_all_that_its_own_embedding_says():
    few = few_sums()
    [found] = exact_preimages(
        probed(), few, [query("100+497=597", at="F2", site="x0.pre")], criterion=Criterion.parse(0.01)
    )
    known = {bits.name: bits for bits in preimage_bits(found, few)}
    assert known["F2"].bits == pytest.approx(known["F2"].of) == pytest.approx(known["F2"].bits)
    assert known["F2"].share == pytest.approx(1)
    for name in ("S1", "S2", "S3"):
        assert known[name].bits == pytest.approx(0, abs=1e-6)
        assert known[name].divergence == pytest.approx(0, abs=1e-6)
        assert known[name].of > 1


def test_a_constant_feature_has_nothing_to_know():
    few = FewSums(range(110, 130))
    for found in (
        exact(query("115+116=231"), few, epsilon=0.8),
        sampled([PriorSource(few, 300)], query("115+116=231"), few, epsilon=0.8),
    ):
        known = {bits.name: bits for bits in preimage_bits(found, few)}
        for name in ("F1", "S1", "C1", "four digits", "A4"):
            assert known[name].of == known[name].bits == known[name].share == 0
            assert known[name].divergence == pytest.approx(0, abs=1e-9)
            assert known[name].interval in (None, (0, 0))
        assert known["F3"].of > 2


def test_the_bits_of_a_sample_that_misses_nothing_are_the_exact_ones():
    few = few_sums(tilt=0.1)
    everything, truth = sampled([PriorSource(few, 60_000)]), exact()
    assert set(everything.members) == set(truth.inputs)
    for known, expected in zip(preimage_bits(everything, few), preimage_bits(truth, few), strict=True):
        near = [pytest.approx(value, abs=1e-4) for value in (expected.bits, expected.of, expected.divergence)]
        assert [known.name, known.bits, known.of, known.divergence] == [expected.name, *near]
        assert known.interval == (pytest.approx(expected.bits, abs=1e-3),) * 2


def test_bits_of_smaller_samples_scatter_around_the_exact_ones_as_their_intervals_say():
    few = few_sums(tilt=0.1)
    names = ("F1", "F2", "S2", "C2", "A1", "A2", "F2+S2")
    truth = {bits.name: bits.bits for bits in preimage_bits(exact(), few, names)}
    errors, held, widths = [], [], []
    for seed in range(6):
        found = sampled(mixture(decoder(), few, 500, prior_share=0.8), seed=seed)
        assert 10 < found.effective_size < 1000
        for known in preimage_bits(found, few, names):
            low, high = known.interval
            errors.append(known.bits - truth[known.name])
            held.append(low <= truth[known.name] <= high)
            widths.append(high - low)
            assert (low + high) / 2 == pytest.approx(known.bits)
    assert abs(np.mean(errors)) < 0.03, "corrected for being few"
    assert np.mean(held) > 0.85
    assert np.mean(widths) < 8 * np.std(errors), "not by being wide"


def test_members_are_few_and_their_bits_uncertain():
    few = few_sums(tilt=0.1)
    scarce, plenty = (sampled([PriorSource(few, n)]) for n in (60, 2000))
    for known, better in zip(*(preimage_bits(p, few, ["F3", "S3", "A3"]) for p in (scarce, plenty)), strict=True):
        assert np.diff(known.interval)[0] > np.diff(better.interval)[0]
    one = preimage_bits(sampled([PriorSource(few, 60)], epsilon=1e-3, few=few), few)
    assert one == [], "the query is not among the draws"


def test_too_few_members_say_nothing(monkeypatch):
    few = few_sums()
    found = sampled([PriorSource(few, 400)], few=few)
    limit = found.effective_size
    assert limit > 5
    monkeypatch.setattr("inversionview.reading.information.LEAST_SIZE", limit * 0.99)
    assert preimage_bits(found, few)
    monkeypatch.setattr("inversionview.reading.information.LEAST_SIZE", limit * 1.01)
    assert preimage_bits(found, few) == []
    assert preimage_bits(exact(few=few), few), "an exact preimage has nothing to doubt, however small"


def test_the_seed_of_the_preimage_decides():
    few, found = few_sums(tilt=0.1), sampled([PriorSource(few_sums(tilt=0.1), 200)])
    assert preimage_bits(found, few) == preimage_bits(found, few)


def test_without_weights_nothing_is_said():
    [found] = sampled_preimages(
        probed(), task(), [query()], [Fixed(rows("B615+861=1476E"))], criterion=Criterion.parse(0.5)
    )
    assert found.n_inside == 1
    assert preimage_bits(found, task()) == []


def test_features_are_chosen_by_name():
    few = few_sums()
    assert [feature.name for feature in chosen_features(few, ["A1", "C2"])] == ["A1", "C2"]
    assert [feature.name for feature in chosen_features(few)] == list(few.features)
    with pytest.raises(UserError, match="addition has no feature 'F9'; its features are: F1, F2, "):
        chosen_features(few, ["F1", "F9"])
    assert [bits.name for bits in preimage_bits(exact(), few_sums(tilt=0.1), ["C2", "F1"])] == ["C2", "F1"]
