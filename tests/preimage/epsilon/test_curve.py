from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from inversionview.criterion import EpsilonRule, parse_epsilon
from inversionview.errors import UserError
from inversionview.preimage.epsilon.curve import GRID, epsilon_curve
from inversionview.results.estimates import CurvePoint

FORMS = "number above 0, such as 0.1,.* null:0.01,.* causal:0.05"


@pytest.mark.parametrize(
    ("given", "kind", "value", "text"),
    [
        ("0.1", "constant", 0.1, "0.1"),
        (0.25, "constant", 0.25, "0.25"),
        (2, "constant", 2.0, "2"),
        (" 1e-3 ", "constant", 0.001, "0.001"),
        ("null:0.01", "null", 0.01, "null:0.01"),
        ("null:.999", "null", 0.999, "null:0.999"),
        ("causal:0.05", "causal", 0.05, "causal:0.05"),
        ("causal:3", "causal", 3.0, "causal:3"),
        ("causal:0.123456789012", "causal", 0.123456789012, "causal:0.123456789012"),
    ],
)
def test_the_three_forms_parse_and_print(given, kind, value, text):
    rule = parse_epsilon(given)
    assert rule == EpsilonRule(kind, value)
    assert str(rule) == text
    assert parse_epsilon(str(rule)) == rule
    assert parse_epsilon(rule) is rule


def test_every_number_round_trips():
    for value in np.random.default_rng(0).random(50):
        for kind in ("constant", "null", "causal"):
            rule = EpsilonRule(kind, float(value))
            assert parse_epsilon(str(rule)) == rule


@pytest.mark.parametrize(
    "given",
    ["", "x", "0", "-0.1", "nan", "inf", "1_0", "null", "null:", "null:0", "null:1", "null:-0.5", "null:nan", "null:x",
     "causal:", "causal:0", "causal:-1", "causal:inf", "causal:nan", "constant:0.1", ":0.1", "Null:0.1", "0.1:null",
     "null:causal:0.1", "paper:0.1", "0.1\nnull", None, True, float("nan"), -1.0],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line_that_shows_the_forms(given):
    with pytest.raises(UserError, match=FORMS) as caught:
        parse_epsilon(given)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("kind", "value"), [("null", 1.0), ("constant", 0.0), ("causal", float("inf")), ("x", 0.1)])
def test_a_rule_cannot_be_made_wrong(kind, value):
    with pytest.raises(UserError, match=FORMS):
        EpsilonRule(kind, value)


def test_the_rule_needs_no_torch():
    heavy = {"torch", "scipy", "transformers"}
    code = f"import sys, inversionview.preimage.epsilon.curve; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def distances(n: int = 500) -> np.ndarray:
    found = np.random.default_rng(1).gamma(1.0, 0.3, n).astype(np.float32)
    found[:3] = 0.0, 0.1, 0.5  # 0.1 in fp32 is above 0.1
    return found


def test_the_curve_counts_what_is_inside():
    d = distances()
    d[10:60], d[60:100] = np.nan, np.inf
    curve = epsilon_curve(d, epsilons=[0.37, 0.1])
    assert [point.epsilon for point in curve] == sorted({*GRID, 0.37})
    assert GRID == (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    for point in curve:
        inside = sum(float(x) <= point.epsilon for x in d)
        assert point.inside == inside > 0
        assert point.floor == pytest.approx(inside / 500)
        assert point.log2_domain_over_preimage == pytest.approx(np.log2(410 / inside))


def test_a_weighted_curve_counts_prior_mass():
    d, weights = distances(), np.random.default_rng(2).random(500) * 7
    d[400:] = np.nan
    for point in epsilon_curve(d, weights.astype(np.float32)):
        mask = d.astype(np.float64) <= point.epsilon
        assert point.inside == mask.sum()
        assert point.floor == pytest.approx(weights[mask].sum() / weights.sum())
        bits = np.log2(weights[:400].sum() / weights[mask].sum())
        assert point.log2_domain_over_preimage == pytest.approx(bits)
    assert epsilon_curve(d, np.full(500, 3.0)) == epsilon_curve(d)


def test_the_curve_is_monotone_and_ends_at_the_whole_domain():
    curve = epsilon_curve(distances(), epsilons=[100.0])
    for name, sign in (("inside", 1), ("floor", 1), ("log2_domain_over_preimage", -1)):
        assert all(sign * (getattr(b, name) - getattr(a, name)) >= 0 for a, b in pairwise(curve))
    assert curve[-1] == CurvePoint(epsilon=100.0, inside=500, log2_domain_over_preimage=0.0, floor=1.0)


def test_an_empty_preimage_has_no_bits():
    first = epsilon_curve(np.array([0.5, np.nan], dtype=np.float32))[0]
    assert first == CurvePoint(epsilon=0.001, inside=0, log2_domain_over_preimage=None, floor=0.0)


@pytest.mark.parametrize("wrong", [np.ones(3), -np.ones(4), np.zeros(4), np.array([1, 1, 1, np.nan])])
def test_weights_that_are_no_prior_are_refused(wrong):
    with pytest.raises(UserError, match="the weights of 4 inputs must be 4 numbers"):
        epsilon_curve(np.ones(4, dtype=np.float32), wrong)


def test_an_epsilon_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="epsilon must be a number above 0"):
        epsilon_curve(distances(), epsilons=[0.1, -1])
