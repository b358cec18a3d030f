"""Rules that tell members from others: found on one half of the inputs, scored on the other, and honest about noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from inversionview.reading.conditions import checked_condition
from inversionview.reading.explanation import finding
from inversionview.reading.explanation.evidence import (
    KINDS,
    MEMBER,
    NEAR,
    RANDOM,
    Shares,
    of_all,
    of_sample,
    share_of,
)
from inversionview.reading.explanation.finding import found_rule, front_of, holds_for
from inversionview.reading.explanation.forms import MOST_LISTED, _listed
from inversionview.reading.explanation.quantities import Quantity, quantities
from inversionview.reading.explanation.rules import MOST_PARTS
from inversionview.reading.explanation.scores import detection_scores, shares_of, signed_weights
from inversionview.reading.hypotheses import padded_row
from inversionview.results.estimates import Component
from inversionview.results.explanation import CONSISTENCY, DETECTION, NEAR_MISSES, RANDOM_INPUTS, Score
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import query, task

ASKED = "615+861=1476"


@pytest.fixture(scope="module")
def drawn():
    tokens = task().sample(20_000, generator=torch.Generator().manual_seed(0))
    return tokens.numpy(), np.full(len(tokens), 8)


def values(drawn, *names):
    tokens, positions = (torch.from_numpy(part) for part in drawn)
    features = task().features
    codes = [features[name].compute(tokens, positions).numpy() for name in names]
    return [
        np.array([int(v) if v.isdigit() else -1 for v in features[n].values])[c]
        for n, c in zip(names, codes, strict=True)
    ]


def as_drawn(drawn):
    return tuple(torch.from_numpy(part) for part in drawn)


def evidence(drawn, distances, seed=0, **changes):
    settings = {"epsilon": 0.1, "query": query(ASKED).tokens, "generator": torch.Generator().manual_seed(seed)}
    return of_all(*drawn, np.asarray(distances, dtype=np.float64), None, **settings | changes)


def rule_for(drawn, distances, **changes):
    return found_rule(task(), evidence(drawn, distances, **changes), query(ASKED), as_drawn(drawn))


def near(inside, apart):
    """Distances: members nearest, and the others the farther the more they differ."""
    return np.where(inside, 0.01, 0.2 + apart / 100)


def test_a_sum_is_found(drawn):
    f1, s1 = values(drawn, "F1", "S1")
    rule = rule_for(drawn, near(f1 + s1 == 14, abs(f1 + s1 - 14)))
    assert (rule.text, rule.words, rule.about) == ("F1 + S1 == 14", "F1 + S1 is 14", ("F1 + S1",))


def test_parts_are_joined(drawn):
    f1, s1, s3, f3 = values(drawn, "F1", "S1", "S3", "F3")
    inside = (f1 == 6) & (s3 <= 3)
    rule = rule_for(drawn, near(inside, abs(f1 - 6) + abs(s3 - 1)))
    assert set(rule.text.split(" and ")) == {"F1 == 6", "S3 <= 3"}
    inside = (f1 == 6) | (s1 == 3)
    rule = rule_for(drawn, near(inside, np.minimum(abs(f1 - 6), abs(s1 - 3))))
    assert set(rule.text.split(" or ")) == {"F1 == 6", "S1 == 3"}
    inside = ((f1 == 6) | (s1 == 3)) & (f3 >= 4)
    rule = rule_for(drawn, near(inside, np.minimum(abs(f1 - 6), abs(s1 - 3)) + (f3 < 4)))
    assert rule.parts == MOST_PARTS
    assert "(" in rule.text


def test_long_values_are_shortened_in_words_and_whole_in_expressions():
    long = [f'"At the {{place}}, {name} met {{B}} and gave the {{object}} to {{IO}}."' for name in ("Ann", "Eve")]
    quantity = Quantity("template", 1, tuple(long), ordered=False, yes_no=False, codes=np.array([0, 1]))
    one = _listed(quantity, np.array([1]), np.array([1]), ("==", "in"), ("is", "is one of"))
    assert one.text == f"template == {long[1]}"
    assert one.words == 'template is "At the {place}, Eve…e {object} to {IO}."'
    both = _listed(quantity, np.array([0, 1]), np.array([0, 1]), ("==", "in"), ("is", "is one of"))
    assert both.text == f"template in ({', '.join(long)})"
    assert both.words.count("…") == 2


def inside_of(drawn, text, found):
    rows = ~found.scored
    return holds_for(task(), checked_condition(task(), text), found.tokens[rows], found.positions[rows])


def test_what_a_rule_says_is_what_it_holds_for(drawn):
    f1, s1 = values(drawn, "F1", "S1")
    rng = np.random.default_rng(0)
    found = evidence(drawn, near((f1 * s1 % 7 == 6) | (rng.random(len(f1)) < 0.02), abs(f1 - s1)))
    front = front_of(task(), found, query(ASKED))
    assert len(front) > 3
    weights = signed_weights(found)[~found.scored]
    for rule in front:
        holds = inside_of(drawn, rule.text, found)
        assert (holds == rule.holds).all(), rule.text
        assert rule.value == pytest.approx(weights[holds].sum(), abs=1e-9)
        own = torch.tensor(query(ASKED).tokens)[None].numpy(), np.array([query(ASKED).position])
        assert holds_for(task(), checked_condition(task(), rule.text), *own), "the query is a member"
    assert [rule.cost for rule in front] == sorted({rule.cost for rule in front})
    assert [rule.value for rule in front] == sorted(rule.value for rule in front)


def test_inputs_that_are_not_known_to_be_members_decide_between_rules_that_are_as_good(drawn, monkeypatch):
    f1, s1 = values(drawn, "F1", "S1")
    found = evidence(drawn, near((f1 + s1 == 14) & np.isin(f1, (6, 8)), abs(f1 + s1 - 14)))
    f1, s1 = values((found.tokens, found.positions), "F1", "S1")
    unlike = (found.kinds != MEMBER) & (f1 + s1 == 14)
    unseen = dataclasses.replace(found, scored=found.scored | unlike)
    front = front_of(task(), unseen, query(ASKED))
    assert front[-1].text == "F1 + S1 == 14"
    assert front_of(task(), unseen, query(ASKED), as_drawn(drawn))[-1].text == front[-1].text, "enough is known"
    monkeypatch.setattr(finding, "FEW_RANDOM", len(found.tokens))
    members = found.kinds == MEMBER

    def tells_all(rule):
        holds = holds_for(task(), checked_condition(task(), rule.text), found.tokens, found.positions)
        return holds[members].all() and not holds[unlike].any()

    assert not tells_all(front[-1])
    assert any(map(tells_all, front_of(task(), unseen, query(ASKED), as_drawn(drawn))))


def test_no_single_part_is_better_than_the_best_that_is_found(drawn):
    f2, s2 = values(drawn, "F2", "S2")
    found = evidence(drawn, near((f2 + 2 * s2) % 5 == 1, abs(f2 - s2)))
    front = front_of(task(), found, query("615+861=1476"))
    singles = [rule.value for rule in front if rule.parts == 1]
    rows, own = ~found.scored, padded_row(task(), query(ASKED)).numpy()
    tokens = torch.from_numpy(np.concatenate([found.tokens[rows], own]).astype(np.int64))
    there = quantities(task(), tokens, torch.full((len(tokens),), 8), "=")
    weights = np.append(signed_weights(found)[rows], 0.0)
    for quantity in there:
        sums = np.bincount(quantity.codes, weights=weights, minlength=len(quantity.values))
        asked = quantity.codes[-1]
        of_any_values = sums[asked] + np.sort(np.delete(sums, asked).clip(min=0))[::-1][: MOST_LISTED - 1].sum()
        assert of_any_values <= max(singles) + 1e-9, quantity.text
        if quantity.ordered:
            ranges = [sums[low : high + 1].sum() for low in range(asked + 1) for high in range(asked, len(sums))]
            assert max(ranges) <= max(singles) + 1e-9, quantity.text


def test_the_two_sides_share_no_input(drawn):
    (f1,) = values(drawn, "F1")
    found = evidence(drawn, near(f1 == 6, abs(f1 - 6)))
    sides = [{tuple(row) for row in found.tokens[found.scored == side].tolist()} for side in (False, True)]
    assert not sides[0] & sides[1]
    assert abs(len(sides[0]) - len(sides[1])) <= 1
    assert query(ASKED).tokens not in {tuple(row[row < 14].tolist()) for row in found.tokens}
    kinds = [int((found.kinds == kind).sum()) for kind in KINDS]
    assert kinds[MEMBER] > 1000
    assert kinds[NEAR] == kinds[RANDOM] == 1500


def test_near_misses_are_the_nearest_and_as_many_as_the_members(drawn):
    (f1,) = values(drawn, "F1")
    distances = np.linspace(0.11, 1, len(f1))
    distances[:300] = 0.05
    found = evidence(drawn, distances)
    assert found.members == found.near == 300
    nearest = {tuple(row) for row in drawn[0][300:600].tolist()}
    assert {tuple(row) for row in found.tokens[found.kinds == NEAR].tolist()} == nearest
    assert found.base_rate.share == pytest.approx(300 / len(f1))


def test_near_misses_of_draws_are_as_probable_as_members_whatever_drew_them():
    """A decoder draws many distinct members, and few of what lies outside, which the prior gives as often."""
    rows = task().sample(400, generator=torch.Generator().manual_seed(3)).numpy()
    distances = np.r_[np.full(200, 0.05), np.linspace(0.2, 1, 200)]
    chance = np.r_[np.full(200, 0.05), np.full(200, 0.002)]
    preimage = Preimage(
        query=query(ASKED), epsilon=0.1, metric="euclidean", position_rule="same", seed=0, domain_size=None,
        inputs=tuple(map(str, range(400))), tokens=rows, token_strings=((),) * 400, positions=np.full(400, 8),
        distances=distances, in_domain=np.ones(400, dtype=bool), sources=({"prior": 1},) * 400,
        log_prob=np.full(400, np.nan), log_prior=np.full(400, -10.0),
        components=(Component("prior", 400),), log_densities=np.log(chance)[None],
    )  # fmt: skip
    found = of_sample(preimage, np.ones(400, dtype=np.int64), torch.Generator().manual_seed(0))
    masses = preimage.at_epsilon(1.0).member_shares
    assert found.near == max(50, int(np.searchsorted(masses[200:].cumsum(), masses[:200].sum())) + 1)
    assert 100 < found.near < 120


def test_noise_is_not_told_of(drawn):
    """Members are a random part of the inputs: where a rule was not found, it is as good as chance."""
    above = 0
    for seed in range(4):
        tokens = task().sample(3000, generator=torch.Generator().manual_seed(seed)).numpy()
        distances = np.random.default_rng(seed).uniform(0, 1, len(tokens))
        found = evidence((tokens, np.full(len(tokens), 8)), distances, seed)
        rule = found_rule(task(), found, query(ASKED), as_drawn(drawn))
        if rule is None:
            continue
        holds = holds_for(task(), checked_condition(task(), rule.text), found.tokens, found.positions)
        score = detection_scores(shares_of(found, holds), Shares(0.5, 100.0))[DETECTION]
        assert score.value == pytest.approx(0.5, abs=0.1)
        above += score.interval[0] > 0.5
    assert above <= 1, "the interval is at 95%"


def test_shorter_is_taken_where_longer_is_no_better_than_error(drawn):
    f1, s1 = values(drawn, "F1", "S1")
    rng = np.random.default_rng(1)
    inside = (f1 + s1 == 14) & (rng.random(len(f1)) < 0.9)
    found = evidence(drawn, near(inside, abs(f1 + s1 - 14)))
    rule = found_rule(task(), found, query(ASKED), as_drawn(drawn))
    assert rule.parts == 1


def test_scores_are_shares_of_the_side_that_was_kept(drawn):
    f1, s1 = values(drawn, "F1", "S1")
    found = evidence(drawn, near(f1 + s1 == 14, abs(f1 + s1 - 14)))
    text = "13 <= F1 + S1 <= 14"
    holds = holds_for(task(), checked_condition(task(), text), found.tokens, found.positions)
    scores = detection_scores(shares_of(found, holds), Shares(0.25, 1000.0))
    near_rows, random_rows = (found.rows(kind, scored=True) for kind in (NEAR, RANDOM))
    false_near, false_random = holds[near_rows].mean(), holds[random_rows].mean()
    assert scores[CONSISTENCY] == Score(
        1.0, scores[CONSISTENCY].interval, 0.25, int(found.rows(MEMBER, scored=True).sum())
    )
    assert scores[NEAR_MISSES].value == pytest.approx((2 - false_near) / 2)
    assert scores[RANDOM_INPUTS].value == pytest.approx((2 - false_random) / 2)
    assert scores[DETECTION].value == pytest.approx((scores[NEAR_MISSES].value + scores[RANDOM_INPUTS].value) / 2)
    for name in (DETECTION, NEAR_MISSES, RANDOM_INPUTS):
        low, high = scores[name].interval
        assert low < scores[name].value < high or scores[name].value == high == 1
        assert scores[name].floor == 0.5


def test_intervals_of_detection_hold_the_truth():
    rng, held, shares = np.random.default_rng(3), 0, (0.9, 0.4, 0.1)
    truth = 0.5 + 0.5 * shares[0] - 0.25 * (shares[1] + shares[2])
    for _ in range(400):
        seen = {kind: Shares(rng.binomial(80, share) / 80, 80.0) for kind, share in zip(KINDS, shares, strict=True)}
        low, high = detection_scores(seen, Shares(0.1, 1.0))[DETECTION].interval
        held += low <= truth <= high
    assert held / 400 >= 0.94


def test_weights_count(drawn):
    holds, weights = np.array([True, False, True]), np.array([2.0, 1.0, 1.0])
    assert share_of(holds, weights) == Shares(0.75, 16 / 6)
    assert np.isnan(share_of(holds, np.zeros(3)).share)


def test_equal_names_are_a_quantity_and_constants_are_not(drawn):
    tokens, positions = (torch.from_numpy(part[:500]) for part in drawn)
    there = {quantity.text: quantity for quantity in quantities(task(), tokens, positions, "=")}
    assert "F1 + S1" in there
    assert "`F1+S1`" not in there, "it is the same as F1 + S1"
    assert "F1 - S1" in there
    assert not any("`F1+S1` " in text for text in there), "nothing is added to a sum"
    one = quantities(task(), tokens[:1].expand(5, -1), positions[:5], "=")
    assert one == []
