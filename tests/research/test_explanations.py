"""The page on explanations says what was measured and what was not; the search for what is best finds it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from inversionview.expressions import compile_expression
from inversionview.studies.study import Study, load_study
from research import explanations_page, explanations_study


def score(value, interval=None, floor=0.1, n=200):
    return {"value": value, "interval": interval or [value, value], "floor": floor, "n": n, "why_not": None}


def told(expression, detection, generation=0.8, says_nothing=""):
    scores = {"generation": score(generation), "detection": score(detection, floor=0.5), "consistency": score(0.9)}
    return {"expression": expression, "says_nothing": says_nothing, "scores": scores}


def document():
    intervals = {"detection": [0.6, 0.7], "generation": [0.7, 0.9], "consistency": [0.8, 0.95]}
    sampled = told("F1 == 2", 0.65) | {"exact": {"detection": 0.75, "generation": 0.8, "consistency": 0.9}}
    for name, interval in intervals.items():
        sampled["scores"][name]["interval"] = interval
    cells = [
        {"input": "1+2=3", "members": 3, "explained": told(None, 0.5, says_nothing="3 members beside the query")},
        {"input": "2+2=4", "members": 300, "explained": told("F1 == 2", 0.8), "dealt": told(None, 0.5),
         "best": {"detection": 0.9, "expression": "F1 == 2 and S1 == 2"}, "sampled": sampled,
         "combined": {"detection": 0.95, "expression": "F1 == 2 and S1 != 3", "literals": 500}},
        {"input": "3+2=5", "members": 100, "explained": told("F1 | 3", 0.9), "dealt": told("S1 == 2", 0.7),
         "best": {"detection": 0.85, "expression": "F1 == 3"}},
    ]  # fmt: skip
    one = {
        "site": "a0.2", "at": "=", "words": "tells F1 in 2 of 3 activations", "queries": 3,
        "told": [{"about": "F1", "share": 2 / 3, "example": "F1 is 2"}],
        "scores": {"generation": score(0.7, [0.6, 0.8], n=2)},
    }  # fmt: skip
    return {
        "truth-addition": {"study": "addition", "pairs": 2, "inputs": 3, "sampled": 1, "epsilon": 0.1,
                           "groups": [{"site": "a0.2", "at": "=", "cells": cells}]},
        "sites-addition": {"study": "addition", "at": "=", "queries": 3, "written": 100, "epsilon": 0.1, "of": 4,
                           "sites": [one]},
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "1 of 2 pairs of a site and a position, 3 random inputs each, ε = 0.1: 3 activations. 1 have fewer than 20 "
        "members and get no explanation; 0 have all inputs as members. Of the other 2, 0 are said",
        "| detection at least 0.9 of the best known | 2 | 90% | 50% | **missed** |",
        "| detection at least 0.9 of the best of all combinations of literals | 1 | 90% | 0% | **missed** |",
        "| the wider search finds what is at least as good as the best combination | 1 | – | 0% | – |",
        "95% intervals of detection that hold the exact score | 1 | 90% | 0% | **missed** |",
        "| `a0.2` at = | 2+2=4 | `F1 == 2` | detection | 0.600 to 0.700 | 0.750 |",
        "95% intervals of generation that hold the exact score | 1 | 90% | 100% | met |",
        "| members dealt out by chance: said to say nothing | 2 | 95% | 50% | **missed** |",
        "| `a0.2` at = | 2+2=4 | 200 | `F1 == 2` | 0.800 | `F1 == 2 and S1 != 3` | 0.950 |",
        "| `a0.2` at = | 3+2=5 | 200 | `F1 \\| 3` | 0.900 | `F1 \\| 3` | 0.900 |",
        "| `a0.2` | tells F1 in 2 of 3 activations | F1 is 2 | 2 | 0.70 (0.60 to 0.80), floor 0.10 | – | – | – |",
        "1 of 4 sites were measured",
        "### Beside the truth: ioi-small Not measured.",
        "- The truth of addition, in 1 of 2 places.",
        "- The sites of SmolLM2-135M on IOI.",
    ],
)
def test_the_page_says_what_the_numbers_say(words):
    assert words in " ".join(explanations_page.page(document()).split())


def test_a_page_of_nothing_says_that_nothing_was_measured():
    page = explanations_page.page({})
    assert page.count("\nNot measured.\n") == 3 * len(explanations_page.TRUTHS) + len(explanations_page.SITES)
    assert "## By a language model" in page


def test_the_best_combinations_are_those_of_brute_force():
    draws = np.random.default_rng(0)
    holds, weights = draws.random((7, 60)) < 0.4, draws.normal(size=60)
    literals = [explanations_study.Literal(f'{name} == "yes"', row) for name, row in zip("abcdefg", holds, strict=True)]
    forms = (
        lambda a, b, c: a, lambda a, b, c: a & b, lambda a, b, c: a | b, lambda a, b, c: a & b & c,
        lambda a, b, c: a | b | c, lambda a, b, c: (a & b) | c, lambda a, b, c: (a | b) & c,
    )  # fmt: skip
    best = max(weights[form(*three)].sum() for three in itertools.permutations(holds, 3) for form in forms)
    found = explanations_study.shortlist(literals, weights)
    first = compile_expression(found[0], dict.fromkeys("abcdefg", ("no", "yes")))
    codes = {name: row.astype(int) for name, row in zip("abcdefg", holds, strict=True)}
    assert weights[first({name: codes[name] for name in first.features})].sum() == pytest.approx(best, abs=1e-5)


def test_a_part_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(explanations_study, "RESULTS", tmp_path)
    explanations_study.keep("truth-ioi", {"pairs": 6})
    explanations_study.keep("truth-addition", {"share": 1 / 3})
    assert explanations_study.read() == {"truth-ioi": {"pairs": 6}, "truth-addition": {"share": 0.333333}}
    monkeypatch.setattr(explanations_study, "cells_of", lambda study, site, role, sizes: [site])
    study = load_study("facts-small", device="cpu")
    [(first, at), (second, _)] = explanations_study.places(study, 2)
    done = [{"site": first, "at": at, "cells": ["kept"]}]
    [groups] = explanations_study.truth(study, explanations_study.Sizes(2), done)
    assert [group["cells"] for group in groups] == [["kept"], [second]]


def test_a_part_that_is_not_there_is_named(capsys):
    assert explanations_study.main(["truth-nowhere"]) == 2
    assert "there is no part 'truth-nowhere'" in capsys.readouterr().err


@pytest.mark.slow
def test_cells_are_measured_beside_what_is_best():
    facts = load_study("facts-small", device="cpu")
    study = Study(facts.probed, facts.task, epsilon=1.0)
    cells = explanations_study.cells_of(study, "m0", "END", explanations_study.Sizes(1, 3, 1, 1))
    assert len(cells) == 3
    [one, *_] = [cell for cell in cells if "best" in cell]
    assert one["dealt"]["expression"] is None
    assert 0.5 < one["best"]["detection"] <= 1.0
    assert 0.5 < one["combined"]["detection"] <= 1.0
    assert set(one["sampled"]["exact"]) == set(explanations_study.WITH_INTERVALS)
    assert explanations_page.Cell("m0", one).reached <= 1.0
