from __future__ import annotations

import pytest

from inversionview.criterion import Criterion, EpsilonRule, QueryEpsilons, SiteEpsilons
from inversionview.errors import UserError


def test_it_is_parsed_where_it_enters():
    found = Criterion.parse("null:0.02", "cosine", "any")
    assert found == Criterion("cosine", "any", EpsilonRule("null", 0.02))
    assert found.but(0.3) == Criterion("cosine", "any", EpsilonRule("constant", 0.3))
    assert found.but(metric="euclidean", position_rule="same").epsilon == found.epsilon
    assert Criterion.parse() == Criterion.parse(0.1, "euclidean", "same")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metric": "manhattan"}, "unknown metric 'manhattan': use euclidean or cosine"),
        ({"position_rule": "best"}, "unknown position rule 'best': use same or any"),
        ({"epsilon": 0}, "epsilon must be a number above 0, such as 0.1, not 0"),
        ({"epsilon": "null:2"}, "such as null:0.01, .* not null:2"),
        ({"epsilon": [0.1, -1]}, "epsilon must be a number above 0"),
    ],
)
def test_what_cannot_be_is_refused_with_what_there_is(given, words):
    for parse in (Criterion.parse, Criterion().but):
        with pytest.raises(UserError, match=words):
            parse(**given)


def test_limits_are_of_each_query():
    sites = ["a0.0", "x0.post", "a0.0"]
    assert Criterion.parse(0.2).limits(sites) == [0.2] * 3
    own = Criterion(epsilon=SiteEpsilons({"a0.0": 0.3, "x0.post": 0.5}, "null:0.02"))
    assert own.limits(sites) == [0.3, 0.5, 0.3]
    assert (own.constant, own.largest) == (None, 0.5)
    each = Criterion.parse([0.1, 0.2, 0.4])
    assert each.limits(sites) == [0.1, 0.2, 0.4]
    assert each.constant is None
    assert Criterion(epsilon=QueryEpsilons((0.2, 0.2))).constant == 0.2
    with pytest.raises(UserError, match="give one epsilon, or one for each of the 1 queries, not 3"):
        each.limits(sites[:1])
    with pytest.raises(UserError, match=r"null:0\.02 has to be measured"):
        Criterion.parse("null:0.02").limits(sites)
