"""Which ε each query gets, against what the two calibrations say when they are asked themselves."""

from __future__ import annotations

import pytest
import torch

from inversionview.criterion import Criterion, EpsilonRule
from inversionview.errors import UserError
from inversionview.preimage.epsilon import calibration
from inversionview.preimage.epsilon.calibration import Epsilon, epsilons_of
from inversionview.preimage.epsilon.causal import causal_epsilon
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.tasks.text import sampling
from tests.preimage.tiny import decoder, few_sums, probed, query, study, with_criterion

PAIRS = 800
QUERIES = [
    query("500+990=1490", at="A4", site="x1.post"),
    query("500+990=1490", at="=", site="x1.post"),
    query("494+990=1484", at="A4", site="x1.post"),
    query("500+990=1490", at="A4", site="a0.1"),
]


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Fewer pairs and inputs than usual, and what was calibrated with them."""
    made = {"null": [], "causal": []}

    def null(probed, task, sites, share, **options):
        made["null"].append((*sites, options["role"]))
        return null_epsilon(probed, task, sites, share, **options)

    def causal(probed, task, query, tolerance, tried, **options):
        made["causal"].append((query, tried))
        return causal_epsilon(probed, task, query, tolerance, tried, **options)

    monkeypatch.setattr(calibration, "QUERY_PAIRS", PAIRS)
    monkeypatch.setattr(calibration, "null_epsilon", null)
    monkeypatch.setattr(calibration, "causal_epsilon", causal)
    monkeypatch.setattr(calibration, "TRIED", 60)
    return made


def ask(given, queries=QUERIES, **changes) -> list[Epsilon]:
    criterion = Criterion.parse(given, changes.pop("metric", "euclidean"), changes.pop("position_rule", "same"))
    options = {"probed": probed(), "task": few_sums(), "decoder": None, "seed": 5} | changes
    return epsilons_of(criterion, queries, **options)


@pytest.mark.parametrize("given", [0.25, "0.25", " 0.25", EpsilonRule("constant", 0.25)])
def test_a_number_is_every_querys_and_needs_no_words(given, calls):
    assert ask(given) == [Epsilon(0.25, "")] * 4
    assert ask(given, []) == []
    assert calls == {"null": [], "causal": []}


@pytest.mark.parametrize(("metric", "rule"), [("euclidean", "same"), ("cosine", "same"), ("euclidean", "any")])
def test_a_null_epsilon_is_of_the_site_and_the_role(metric, rule, calls):
    found = ask("null:0.2", metric=metric, position_rule=rule)
    assert calls["null"] == [("x1.post", "A4"), ("x1.post", "="), ("a0.1", "A4")]  # each once
    assert found[0] == found[2]
    assert len({epsilon.value for epsilon in found}) == 3
    for asked, epsilon in zip(QUERIES, found, strict=True):
        generator = torch.Generator().manual_seed(5)
        options = {"metric": metric, "position_rule": rule, "role": asked.role, "generator": generator}
        alone = null_epsilon(probed(), few_sums(), [asked.site], 0.2, n=PAIRS, **with_criterion(options))[asked.site]
        assert epsilon == (alone.epsilon, f"null:0.2: {alone.detail}", 0.0)
        assert epsilon.words.startswith(f"null:0.2: 0.2 of {PAIRS} unrelated pairs are within {epsilon.value:.4g}")


def test_the_pairs_are_those_of_the_seed():
    assert ask("null:0.2") == ask("null:0.2")
    assert ask("null:0.2") != ask("null:0.2", seed=6)


def test_a_causal_epsilon_is_of_the_query(calls):
    found = ask("causal:1.3")
    assert [asked for asked, _ in calls["causal"]] == QUERIES
    assert len({epsilon.value for epsilon in found}) >= 3
    for (asked, tried), epsilon in zip(calls["causal"], found, strict=True):
        alone = causal_epsilon(probed(), few_sums(), asked, 1.3, tried)
        assert epsilon == (alone.epsilon, f"causal:1.3: {alone.detail}", 0.0)
        assert len(tried) == 60
    assert ask("causal:1.3") == found
    ask("causal:1.3", [QUERIES[0], QUERIES[0]])
    assert len(calls["causal"]) == 9


def test_a_causal_epsilon_tries_what_the_decoder_proposes_too(calls):
    ask("causal:1.3", QUERIES[:1], decoder=decoder())
    ask("causal:1.3", QUERIES[:1])
    (_, with_decoder), (_, without) = calls["causal"]
    assert len(with_decoder) == 3 * len(without)
    torch.testing.assert_close(with_decoder[:60], without)
    assert few_sums().contains(without).all()
    first, second = with_decoder[60:].split(60)
    assert not torch.equal(first, second)  # two temperatures


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("null:0.00001", "null:1e-05 needs at least 1000000 pairs"),
        ("null:0.01", "null:0.01 needs at least 1000 pairs, 10 of them within it, not 800"),
        ("null:1", "such as null:0.01"),
        ("causal:-1", "such as causal:0.05"),
        ("about a tenth", "not about a tenth"),
        (0.0, "epsilon must be a number above 0"),
        (float("nan"), "epsilon must be a number above 0"),
    ],
)
def test_an_epsilon_that_cannot_be_says_why(given, words):
    with pytest.raises(UserError) as raised:
        ask(given)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_epsilon_of_a_query_takes_fewer_pairs_in_a_large_model(monkeypatch):
    weights = sum(parameter.numel() for parameter in probed().model.parameters())
    drawn = []
    real = calibration.null_epsilon
    monkeypatch.setattr(
        calibration, "null_epsilon", lambda *args, n, **given: drawn.append(n) or real(*args, n=n, **given)
    )
    monkeypatch.setattr(calibration, "QUERY_PAIRS", 2000)
    monkeypatch.setattr(calibration, "FEWEST_QUERY_PAIRS", 300)
    for small, share, n in ((weights, 0.2, 2000), (weights // 4, 0.2, 500), (1, 0.2, 300), (1, 0.02, 500)):
        monkeypatch.setattr(sampling, "SMALL", small)
        study(epsilon=f"null:{share}").preimage(query(), n=5)
        assert drawn.pop() == pytest.approx(n, abs=5)
