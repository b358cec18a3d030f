"""Several seeds: which one is shipped, what the section says, and what a run adds to the document."""

from __future__ import annotations

import json

import pytest

from inversionview.studies import recipes
from research import documents, seeds, seeds_page
from research.claims import Check, Claim, Verdict
from tests.studies.runs import tiny_probed

CLAIMS = [Claim(f"claim {i}", "") for i in range(4)]


def run(seed, accuracy, agree):
    claims = {claim.says: [] if i < agree else ["it does not"] for i, claim in enumerate(CLAIMS)}
    return {"seed": seed, "steps": 1000, "seconds": 1.0, "accuracy": accuracy, "order": [0], "claims": claims}


@pytest.mark.parametrize(
    ("runs", "seed"),
    [
        ([(0.99, 1), (0.985, 4), (0.981, 2)], 2),
        ([(0.99, 1), (0.97, 4), (0.981, 2), (0.985, 3)], 2),  # the second is not right often enough
        ([(0.981, 3), (0.99, 1), (0.985, 4), (0.98, 2)], 3),  # of four, the lower one in the middle
        ([(0.981, 3), (0.99, 3), (0.985, 3)], 1),  # of equals the one that is right most often
        ([(0.99, 3), (0.99, 3)], 0),
        ([(0.9799, 4)], None),
        ([], None),
    ],
)
def test_the_median_of_those_that_are_right_often_enough_is_shipped(runs, seed):
    found = seeds_page.chosen("addition", [run(i, *one) for i, one in enumerate(runs)])
    assert (found and found["seed"]) == seed


@pytest.fixture
def results(tmp_path, monkeypatch):
    for module in (documents, seeds, seeds_page):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def test_runs_are_added_and_replaced_and_the_section_counts_them(results, capsys):
    assert seeds_page.section("addition", CLAIMS) == ""
    for recipe, one in (
        ("addition", run(1, 0.985, 4)), ("addition", run(0, 0.99, 1)), ("addition-muon", run(0, 0.999, 2)),
        ("addition", run(1, 0.983, 3)),
    ):  # fmt: skip
        seeds.add(recipe, one)
    assert "addition, seed 1: 98.30% of held-out inputs right, 3 of 4 claims agree" in capsys.readouterr().out
    kept = json.loads((results / "seeds-addition.json").read_text(encoding="utf-8"))
    assert [(one["seed"], one["accuracy"]) for one in kept["addition"]] == [(0, 0.99), (1, 0.983)]
    text = seeds_page.section("addition", CLAIMS, "Heads are heads.")
    said = " ".join(text.split())
    assert "3 of 3 models learnt the task (at least 98.0% of held-out inputs right); on each of these, " in said
    assert "these, between 1 and 3 of 4 claims agree." in said
    assert "| claim 1 | 1 of 2 | 1 of 1 |" in text
    assert "| claim 0 | 2 of 2 | 1 of 1 |" in text
    assert "| Muon | 0 | 1,000 | 99.90% | 2 of 4 |" in text
    assert "By this rule it is seed 0." in text
    assert "Heads are heads." in text


def test_where_no_seed_is_right_often_enough_that_is_said(results):
    seeds.add("addition", run(0, 0.9, 4))
    text = " ".join(seeds_page.section("addition", CLAIMS).split())
    assert "No model that was trained has learnt the task." in text
    assert "None of the seeds trained the paper's way has 98.0% of held-out inputs right." in text


@pytest.mark.slow
def test_a_recipe_is_trained_once_with_each_seed_and_then_measured(results, monkeypatch):
    monkeypatch.setitem(recipes.PROBED_RECIPES, "addition", tiny_probed)
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 100)
    monkeypatch.setattr(seeds, "RUNS", results / "runs")
    verdicts = [
        Verdict("", CLAIMS[0], [Check(True, "bits")], [Check(False, "it moves nothing")]),
        Verdict("", CLAIMS[1], [Check(True, "bits")], []),
    ]
    monkeypatch.setitem(seeds.JUDGES, "addition", lambda study: ((1, 0), verdicts))
    assert seeds.main(["addition", "--seeds", "2-3", "--train"]) == 0
    assert not (results / "seeds-addition.json").exists()
    files = [results / "runs" / f"addition-{seed}" / "probed" / "model.safetensors" for seed in (2, 3)]
    made = [file.stat().st_mtime_ns for file in files]
    assert files[0].read_bytes() != files[1].read_bytes()
    assert seeds.main(["addition", "--seeds", "2-3"]) == 0
    assert [file.stat().st_mtime_ns for file in files] == made
    runs = json.loads((results / "seeds-addition.json").read_text(encoding="utf-8"))["addition"]
    assert [(one["seed"], one["steps"], one["order"]) for one in runs] == [(2, 4, [1, 0]), (3, 4, [1, 0])]
    assert runs[0]["claims"] == {"claim 0": ["it moves nothing"], "claim 1": []}
    assert 0 <= runs[0]["accuracy"] <= 1
