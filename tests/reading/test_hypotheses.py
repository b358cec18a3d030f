from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from inversionview.errors import UserError
from inversionview.reading.hypotheses import (
    as_hypothesis,
    check_not_constant,
    consistency,
    holm,
    permutation_p,
)
from inversionview.results.estimates import Component
from inversionview.results.hypotheses import HypothesisTest
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import query, task

SUMS = ("615+861=1476", "615+100=715", "999+999=1998", "640+235=875", "100+900=1000")


def encoded(*texts):
    rows = torch.full((len(texts), 14), task().pad)
    for row, text in zip(rows, texts, strict=True):
        tokens = task().encode(text)
        row[: len(tokens)] = tokens
    return rows


def truths(given, *texts, at="=", of="615+861=1476"):
    return as_hypothesis(task(), given, query(of, at)).holds(encoded(*texts)).tolist()


def preimage_of(texts, *, exact=True, inside=None, log_prior=None, q=None, n=100, of="615+861=1476"):
    """A preimage with these members; in a sampled one, `q` are their densities under one source with `n` draws."""
    tokens = encoded(*texts).numpy()
    size = len(texts)
    inside = np.ones(size, dtype=bool) if inside is None else np.array(inside)
    return Preimage(
        query=query(of),
        epsilon=0.1,
        metric="euclidean",
        position_rule="same",
        seed=0,
        domain_size=810_000,
        inputs=tuple(texts),
        tokens=tokens,
        token_strings=tuple(tuple(text) for text in texts),
        positions=np.full(size, 8),
        distances=np.where(inside, 0.01, 0.5),
        in_domain=np.ones(size, dtype=bool),
        sources=({},) * size if exact else ({"d": 1},) * size,
        log_prob=np.full(size, np.nan),
        log_prior=np.full(size, -math.log(810_000)) if log_prior is None else np.log(log_prior),
        exact=exact,
        components=() if exact or q is None else (Component("d", n),),
        log_densities=None if exact or q is None else np.log(np.array(q))[None],
    )


def other_sums(count, *, first_digit=None, seed=0):
    """Distinct sums, none of them the query's; their first digit is `first_digit` or is not 6."""
    generator = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        a, b = generator.integers(100, 1000, 2)
        if (a // 100 == first_digit) if first_digit else a // 100 != 6:
            found[f"{a}+{b}={a + b}"] = None
    return [text for text in found if text != "615+861=1476"]


@pytest.mark.parametrize(
    ("given", "name", "wanted"),
    [
        ("F1", "F1 = 6", [True, True, False, True, False]),
        ("`F1`", "F1 = 6", [True, True, False, True, False]),
        ("C1", "C1 = yes", [True, False, True, False, True]),
        ("four digits", "four digits = yes", [True, False, True, False, True]),
        ("F1+S1", "F1+S1 = 14", [True, False, False, False, False]),
        ("F2 + S2", "F2 + S2 = 7", [True, False, False, True, False]),
        ("(A4)", "(A4) = 6", [True, False, False, False, False]),
        ("F1 + S1 == 14", "F1 + S1 == 14", [True, False, False, False, False]),
        ("A1 != 1 and F1 == 6", "A1 != 1 and F1 == 6", [False, True, False, True, False]),
        ('A4 == "none"', 'A4 == "none"', [False, True, False, True, False]),
    ],
)
def test_features_are_as_in_the_query_and_conditions_hold(given, name, wanted):
    assert truths(given, *SUMS) == wanted
    assert as_hypothesis(task(), given, query()).name == name


def test_what_the_query_lacks_its_members_are_to_lack():
    short = "615+100=715"
    assert as_hypothesis(task(), "A4", query(short)).name == "A4 = none"
    assert as_hypothesis(task(), "A4 + 1", query(short)).name == "A4 + 1 = none"
    for given in ("A4", "A4 + 1"):
        assert truths(given, *SUMS, of=short) == [False, True, False, True, False]


def test_python_functions():
    assert truths(lambda text: text.startswith("6"), *SUMS) == [True, True, False, True, False]
    assert truths(lambda text: np.bool_(text.startswith("6")), *SUMS) == [True, True, False, True, False]
    assert truths(len, *SUMS) == [True, False, True, False, True]
    assert truths(lambda text: torch.tensor(int(text[0])), *SUMS) == [True, True, False, True, False]
    assert truths(lambda text: (text[0], text[4]), *SUMS) == [True, False, False, False, False]

    def starts_with_six(text):
        return text[0] == "6"

    assert as_hypothesis(task(), starts_with_six, query()).name == "starts_with_six"
    assert as_hypothesis(task(), len, query()).name == "len = 12"
    assert as_hypothesis(task(), lambda text: text[0], query()).name == "lambda = '6'"


def test_a_function_that_fails_is_shown_with_its_error_and_the_input():
    def second(text):
        return {"615": 1}[text[:3]]

    held = as_hypothesis(task(), second, query())
    with pytest.raises(UserError, match=r"second fails on the input '999\+999=1998': KeyError: '999'$"):
        held.holds(encoded("615+100=715", "999+999=1998"))
    with pytest.raises(UserError, match=r"fails on the input '615\+861=1476': ValueError: two lines$"):
        as_hypothesis(task(), lambda text: (_ for _ in ()).throw(ValueError("two\nlines")), query())
    with pytest.raises(UserError, match=r"fails on the input '615\+861=1476': TypeError: .*list"):
        as_hypothesis(task(), list, query())
    with pytest.raises(UserError, match=r"gives True for '615\+861=1476' but None for '999\+999=1998'"):
        truths(lambda text: True if text[0] == "6" else None, *SUMS)


def test_what_is_no_hypothesis():
    with pytest.raises(UserError, match=r"no feature 'G1'.*features are F1, "):
        as_hypothesis(task(), "G1", query())
    with pytest.raises(UserError, match="a feature, an expression or a function of the input, not int"):
        as_hypothesis(task(), 3, query())


def test_constants_say_nothing():
    sums = task().sample(50, generator=torch.Generator().manual_seed(0))

    def check(given):
        hypothesis = as_hypothesis(task(), given, query())
        check_not_constant(hypothesis, bool(hypothesis.holds(encoded("615+861=1476"))), hypothesis.holds(sums))

    for constant in ("F1 - F1", "F1 < 10", "F1 > 9", lambda text: text[3], lambda text: "+" not in text):
        with pytest.raises(UserError, match=r"is constant, so it says nothing .* all of 50 inputs"):
            check(constant)
    check("F1")
    check(lambda text: text)  # of no other input is it true, but of the query


def test_the_truth_known_members_that_all_share_f1():
    preimage = preimage_of(["615+861=1476", *other_sums(40, first_digit=6)])
    shared = consistency(preimage, as_hypothesis(task(), "F1", query()))
    assert shared == (1.0, (1.0, 1.0), 40, 40.0, None)
    mixed = preimage_of([*other_sums(30, first_digit=6), *other_sums(10)])
    found = consistency(mixed, as_hypothesis(task(), "F1", query()))
    assert found.share == pytest.approx(0.75)
    assert found.interval == (found.share, found.share)


def test_shares_are_weighted_by_the_prior():
    texts = ["640+235=875", "600+100=700", "999+999=1998"]
    preimage = preimage_of(texts, log_prior=[0.2, 0.1, 0.3])
    assert consistency(preimage, as_hypothesis(task(), "F1", query())).share == pytest.approx(0.5)


def test_the_querys_own_input_does_not_count_unless_another_activation_was_read():
    preimage = preimage_of(["615+861=1476", "999+999=1998"])
    hypothesis = as_hypothesis(task(), "F1", query())
    assert consistency(preimage, hypothesis)[:3] == (0.0, (0.0, 0.0), 1)
    assert consistency(preimage, hypothesis, leave_out_query=False).share == 0.5
    short = preimage_of(["615+100=715", "615+101=716"], of="615+100=715")
    assert consistency(short, hypothesis).members == 1


def test_only_members_are_looked_at():
    preimage = preimage_of(["640+235=875", "999+999=1998"], inside=[True, False])
    assert consistency(preimage, as_hypothesis(task(), "F1", query()))[:3] == (1.0, (1.0, 1.0), 1)


@pytest.mark.parametrize(("exact", "told"), [(True, "no input but the query's own"), (False, "among 1 draws")])
def test_no_member_but_the_query_gives_a_reason_and_no_number(exact, told):
    preimage = preimage_of(["615+861=1476"], exact=exact, q=[0.5])
    found = consistency(preimage, as_hypothesis(task(), "F1", query()))
    assert found[:4] == (None, None, 0, 0.0)
    assert told in found.why_not
    nothing = consistency(preimage_of([], exact=exact), as_hypothesis(task(), "F1", query()))
    assert nothing.members == 0


def test_members_of_unknown_density_give_a_reason_and_no_number():
    preimage = preimage_of(["640+235=875", "999+999=1998"], exact=False)
    found = consistency(preimage, as_hypothesis(task(), "F1", query()))
    assert (found.share, found.members) == (None, 2)
    assert "how probable its members are is not known" in found.why_not


def test_a_sample_is_weighted_by_how_hard_its_members_were_to_draw():
    texts, q, n = ["640+235=875", "600+100=700", "999+999=1998", "615+861=1476"], [0.3, 0.001, 0.02, 0.9], 20
    found = consistency(preimage_of(texts, exact=False, q=q, n=n), as_hypothesis(task(), "F1", query()))
    weights = [1 / (1 - (1 - density) ** n) for density in q[:3]]
    assert found.share == pytest.approx(sum(weights[:2]) / sum(weights))
    assert found.members == 3
    assert 0 < found.effective_size <= 3
    hits, size = found.share * found.effective_size, found.effective_size
    assert found.interval == pytest.approx(
        (beta.ppf(0.025, hits, size - hits + 1), beta.ppf(0.975, hits + 1, size - hits))
    )
    assert found.interval[0] <= found.share <= found.interval[1]


def test_members_that_were_sure_to_be_drawn_are_worth_no_more_than_their_number():
    texts = other_sums(20, first_digit=6)
    found = consistency(preimage_of(texts, exact=False, q=[0.99] * 20), as_hypothesis(task(), "F1", query()))
    assert found.effective_size == 20
    assert found.interval == pytest.approx((beta.ppf(0.025, 20, 1), 1.0))


def test_permutation_p_by_hand():
    assert permutation_p(0.5, [0.1, 0.5, 0.7, 0.2]) == 3 / 5
    assert permutation_p(0.9, [0.1] * 99) == 1 / 100
    assert permutation_p(0.3, []) == 1.0
    assert permutation_p(0.3, [0.1 + 0.2]) == permutation_p(0.1 + 0.2, [0.3]) == 1.0


def test_permutation_p_is_uniform_under_the_null_and_small_under_another():
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(2000, 100))
    p = [permutation_p(row[0], row[1:]) for row in draws]
    assert kstest(np.array(p) - generator.uniform(0, 0.01, 2000), "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)
    ties = generator.integers(0, 3, size=(2000, 100))
    assert np.mean([permutation_p(row[0], row[1:]) <= 0.3 for row in ties]) <= 0.33
    assert np.mean([permutation_p(row[0] + 3, row[1:]) <= 0.05 for row in draws]) > 0.8


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    assert holm([None, 0.01, 0.02]) == [None, 0.03, 0.04]


def test_holm_is_the_closed_test_of_bonferroni():
    p = [0.011, 0.02, 0.3, 0.012, 0.049]
    corrected = holm(p)
    for i in range(len(p)):
        sets = (s for size in range(1, 6) for s in itertools.combinations(range(5), size) if i in s)
        assert corrected[i] == pytest.approx(min(1.0, max(len(s) * min(p[j] for j in s) for s in sets)))


def test_a_result_is_plain_data():
    result = HypothesisTest(
        name="F1 = 6", site="a0.0", at="=", consistency=0.9, interval=(0.8, 0.95), members=100, effective_size=70.5,
        base_rate=0.1, lift=9.0, p_value=0.01, random_queries=99, p_corrected=0.02, sites_tried=2,
        controls={"begin token": {"consistency": None, "members": 0}}, why_not=None, seed=0, exact=False,
    )  # fmt: skip
    document = result.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["interval"] == [0.8, 0.95]
    assert set(document) == set(HypothesisTest.__dataclass_fields__)
