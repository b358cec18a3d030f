"""Patterns of members: their shares against exact preimages, what is found where it is known, and properties."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inversionview.criterion import Criterion
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import mixture
from inversionview.reading.patterns import MOST, patterns, with_patterns
from inversionview.results.estimates import Patterns
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import decoder, few_sums, probed, query, task
from tests.reading.sixty import exact, sampled


def has(words: str, text: str) -> bool:
    """Whether a sum has what a pattern says: read off its text, with none of the package's code."""
    if " = " not in words:
        return re.match(re.escape(words).replace("·", "."), text) is not None
    first, second = (int(number) for number in text.split("=")[0].split("+"))
    answer, values = str(first + second), {"four digits": "yes" if first + second > 999 else "no"}
    for i in (1, 2, 3):
        f, s = str(first)[i - 1], str(second)[i - 1]
        carries = first % 10 ** (4 - i) + second % 10 ** (4 - i) >= 10 ** (4 - i)
        values |= {f"F{i}": f, f"S{i}": s, f"F{i}+S{i}": str(int(f) + int(s)), f"C{i}": "yes" if carries else "no"}
    values |= {f"A{i + 1}": answer[i] if i < len(answer) else "none" for i in range(4)}
    return all(values[name] == value for name, value in (part.split(" = ") for part in words.split(", ")))


def made(rule, *, n: int | None = None) -> Preimage:
    """The exact preimage of a query at `=` whose members are those for which `rule` holds; no model is run."""
    texts = [few_sums().decode(row) for row in few_sums().rows]
    [whole] = exact_preimages(
        probed(), few_sums(), [query("500+990=1490", "=", "x0.post")], criterion=Criterion.parse(1e9)
    )
    rows = np.array([i for i, text in enumerate(whole.inputs) if rule(text)])[:n]
    assert set(whole.inputs) == set(texts)
    return whole._taken(rows)


def found(preimage: Preimage) -> dict[str, float]:
    return {pattern.words: pattern.share for pattern in patterns(preimage, few_sums()).found}


def test_shares_are_within_their_intervals_of_the_exact_ones():
    inside = []
    for sample, whole in zip(sampled(), exact(), strict=True):
        for pattern in sample.patterns.found:
            share = whole.weights[[has(pattern.words, text) for text in whole.inputs]].sum()
            low, high = pattern.interval
            inside.append(low - 1e-9 <= share <= high + 1e-9)
            assert low <= pattern.share <= high
    assert len(inside) > 80
    assert np.mean(inside) >= 0.95


def test_intervals_are_no_wider_than_their_members_are_worth():
    for sample in sampled():
        for pattern in sample.patterns.found:
            low, high = pattern.interval
            assert high - low <= 5.8 / sample.effective_size**0.5, (pattern, sample.effective_size)


def test_exact_shares_are_exact():
    some = 0
    for whole in exact():
        for pattern in whole.patterns.found:
            members = [has(pattern.words, text) for text in whole.inputs]
            assert pattern.share == pytest.approx(whole.weights[members].sum())
            assert (pattern.members, pattern.interval) == (sum(members), None)
            some += 1
    assert some > 80


def test_most_preimages_have_a_pattern_and_the_others_say_why_not():
    for one in (*sampled(), *exact()):
        assert bool(one.patterns.found) != one.patterns.why_not.startswith("no pattern: ")
    assert sum(bool(one.patterns.found) for one in exact()) > 45
    assert any(not one.patterns.found for one in exact())


def test_examples_have_the_pattern_and_are_members():
    for one in (*sampled(), *exact()):
        for pattern in one.patterns.found:
            assert 1 < min(3, pattern.members) <= len(pattern.examples) <= 3
            assert set(pattern.examples) <= set(one.members)
            assert all(has(pattern.words, text) for text in pattern.examples)
            assert pattern.of_query == has(pattern.words, one.query.input)


def test_what_is_free_is_a_dot_and_what_is_shared_is_kept():
    one = made(lambda text: text[0] + text[4] in ("19", "91"))
    assert found(one) == pytest.approx({"1··+9··": 0.5, "9··+1··": 0.5}, abs=0.01)
    assert patterns(one, few_sums()).by == ("F1", "S1")


def test_a_pair_is_found_of_which_each_is_free():
    """Of 9 pairs of units nothing but their sum is shared."""
    one = made(lambda text: int(text[2]) + int(text[6]) in (9, 19))
    told = patterns(one, few_sums())
    assert told.by == ("F3", "S3")
    assert len(told.found) == MOST - 1
    assert all(int(p.words[2]) + int(p.words[6]) == 9 for p in told.found)
    assert told.rest == pytest.approx(1 - sum(p.share for p in told.found))


def test_values_of_features_stand_where_no_tokens_are_shared():
    one = made(lambda text: len(text) == 12 and int(text[2]) + int(text[6]) >= 10)
    assert next(iter(found(one))).startswith("C3 = yes")


def test_inputs_drawn_at_random_have_no_pattern():
    for seed in range(20):
        random = np.random.default_rng(seed)
        size = int(random.integers(5, 300))
        chosen = set(random.choice(few_sums().size, size, replace=False).tolist())
        texts = {few_sums().decode(few_sums().rows[i]) for i in chosen}
        told = patterns(made(lambda text, texts=texts: text in texts), few_sums())
        assert told.found == (), (size, told)
        assert told.rest == 1


def test_too_few_members_have_no_pattern():
    one = made(lambda text: text.startswith("100+1"), n=1)
    assert patterns(one, few_sums()).why_not == "no pattern: there is one member only"
    assert patterns(one.head(0), few_sums()) == Patterns(rest=0.0, why_not="no pattern: there are no members")
    few = dataclasses.replace(sampled()[0], epsilon=float(np.sort(sampled()[0].distances)[2]))
    assert "worth" in patterns(few, few_sums()).why_not


def test_another_epsilon_takes_no_patterns_with_it():
    for one in (sampled()[0], exact()[0]):
        assert one.patterns.found
        narrow = one.at_epsilon(0.3)
        assert (narrow.patterns, narrow.differences) == (None, ())
        assert with_patterns(narrow, few_sums()).patterns is not None


def test_near_misses_say_what_they_have_instead():
    some = 0
    for one in sampled():
        known = {bits.name: bits for bits in one.bits}
        for row, text in enumerate(one.inputs):
            if one.inside[row] or not one.differs(row):
                assert one.inside[row] or one.in_domain[row] or not one.differs(row)
                continue
            name, value = one.differs(row).split(" = ")
            assert has(one.differs(row), text)
            assert known[name].share >= 0.5
            assert not any(has(f"{name} = {value}", member) for member in one.members)
            some += 1
    assert some > 100


def test_without_weights_members_count_the_same_and_there_is_no_interval():
    one = dataclasses.replace(sampled()[0], log_prior=None, bits=())
    told = patterns(one, few_sums())
    assert not one.weighted
    for pattern in told.found:
        assert pattern.share == pytest.approx(np.mean([has(pattern.words, text) for text in one.members]))
        assert pattern.interval is None
    assert told.found


def test_a_sample_of_the_prior_has_intervals_without_a_density():
    bank = dataclasses.replace(
        sampled()[0],
        log_prior=None,
        log_densities=None,
        components=(dataclasses.replace(sampled()[0].components[0], source="bank"),),
    )
    for pattern in patterns(bank, few_sums()).found:
        low, high = pattern.interval
        assert low < pattern.share < high or pattern.share == high == 1


def test_a_vector_has_patterns_that_are_not_the_querys():
    one = exact()[0]
    vector = dataclasses.replace(one.query, input=None, tokens=(), token_strings=(), position=-1, vector=(0.0,))
    told = patterns(dataclasses.replace(one, query=vector), few_sums())
    assert [p.words for p in told.found] == [p.words for p in one.patterns.found]
    assert not any(p.of_query for p in told.found)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 59), st.booleans(), st.randoms(use_true_random=False))
def test_shares_add_up_and_the_order_of_rows_changes_nothing(index, whole, random):
    one = (exact() if whole else sampled())[index]
    told = one.patterns
    assert len(told.found) <= MOST
    assert told.rest + sum(pattern.share for pattern in told.found) == pytest.approx(min(1, one.n_inside))
    assert [p.share for p in told.found] == sorted((p.share for p in told.found), reverse=True)
    rows = list(range(len(one)))
    random.shuffle(rows)
    mixed = patterns(one._taken(np.array(rows, dtype=np.int64)), few_sums())
    if one.n_inside <= 5000:
        assert {(p.words, round(p.share, 6), p.members) for p in mixed.found} == {
            (p.words, round(p.share, 6), p.members) for p in told.found
        }


def test_rule_any_has_features_for_columns():
    sources = mixture(decoder(), task(), 200, (1.0,), prior_share=0.5)
    criterion = Criterion.parse(0.5, position_rule="any")
    [one] = sampled_preimages(probed(), task(), [query()], sources, criterion=criterion)
    told = patterns(one, task())
    assert all(" = " in pattern.words for pattern in told.found)


def test_values_left_are_those_of_the_members_by_weight():
    for one in exact()[:10]:
        tokens, positions = torch.from_numpy(one.tokens).long(), torch.from_numpy(one.positions).long()
        for bits in one.bits:
            feature = few_sums().features[bits.name]
            codes = feature.compute(tokens, positions).numpy()
            own = feature.compute(torch.tensor([one.query.tokens]), torch.tensor([one.query.position]))
            assert (bits.value, bits.about) == (feature.values[int(own)], feature.about)
            for value, share in bits.left:
                assert share == pytest.approx(one.weights[codes == feature.values.index(value)].sum())
            assert [share for _, share in bits.left] == sorted((share for _, share in bits.left), reverse=True)
            assert len(bits.left) == min(6, len(set(codes.tolist())))
