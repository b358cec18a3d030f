"""The map of a small domain, against exact preimages of its queries one by one."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.reading.information import preimage_bits
from inversionview.results import convert
from inversionview.results.map import Cell, Map, with_best
from inversionview.studies.study import Study
from inversionview.studies.verbs import map as mapping
from tests.preimage.counting import counting_probed, counting_task
from tests.preimage.tiny import FewSums, few_sums, probed, query

TEXT = "500+990=1490"
SITES = ("x0.post", "a0.1")
LATE = ("x1.post",)
NOTHING = {"knows": [], "best": None}


def make(sites=SITES, task=None, **changes):
    study = Study(probed(), task or few_sums(), name="tiny", sites=sites)
    return study.map(**{"text": None, "queries": 4, "where": None, "epsilon": 0.4, "seed": 3} | changes).to_dict()


def cells(document) -> dict:
    return {(cell["site"], cell["at"]): cell for cell in document["cells"]}


@pytest.mark.parametrize(("metric", "tilt"), [("euclidean", 0.0), ("cosine", 0.0), ("euclidean", 3.0)])
def test_the_map_of_one_input_is_what_its_exact_preimages_say(metric, tilt):
    task = few_sums(tilt)
    document = make(task=task, text=TEXT, metric=metric)
    assert (document["input"], document["queries"], document["metric"]) == (TEXT, 1, metric)
    assert (document["epsilon"], document["epsilon_rule"], document["position_rule"]) == (0.4, "0.4", "same")
    assert document["sites"] == list(SITES)
    assert document["ats"] == list(task.roles)
    queries = [query(TEXT, at, site) for site in SITES for at in task.roles]
    found = exact_preimages(probed(), task, queries, criterion=Criterion.parse(0.4, metric))
    assert len(document["cells"]) == len(queries)
    for one in found:
        cell = cells(document)[one.query.site, one.query.role]
        assert (cell["queries"], cell["se"]) == (1, None)
        known = preimage_bits(one, task)
        assert list(cell["bits"]) == [bits.name for bits in known]
        for bits in known:
            said = cell["bits"][bits.name]
            assert said["se"] is None
            assert (said["bits"], said["of"]) == pytest.approx((bits.bits, bits.of), abs=1e-4)
            assert said["divergence"] == pytest.approx(bits.divergence, abs=1e-4)
        mass = np.exp(one.log_prior).sum() / one.domain_mass
        assert cell["log2_domain_over_preimage"] == pytest.approx(-math.log2(mass), abs=1e-4)
        assert "epsilon" not in cell


def test_an_input_without_a_position_has_no_cell_there():
    document = make(text="100+101=201")
    assert document["ats"] == list(few_sums().roles[:-1])
    assert ("x0.post", "A4") not in cells(document)


def test_a_map_is_the_mean_over_random_inputs_with_its_standard_error():
    task = few_sums()
    document, n = make(LATE), 4
    assert (document["input"], document["queries"], document["seed"]) == (None, n, 3)
    drawn = task.sample(n, generator=torch.Generator().manual_seed(3))
    alone = [cells(make(LATE, text=task.decode(row)))["x1.post", "="] for row in drawn]
    cell = cells(document)["x1.post", "="]
    sizes = [one["log2_domain_over_preimage"] for one in alone]
    assert cell["queries"] == n
    assert cell["log2_domain_over_preimage"] == pytest.approx(np.mean(sizes), abs=1e-5)
    assert cell["se"] == pytest.approx(np.std(sizes, ddof=1) / math.sqrt(n), abs=1e-5)
    for name, said in cell["bits"].items():
        bits = [one["bits"][name]["bits"] for one in alone]
        assert said["bits"] == pytest.approx(np.mean(bits), abs=1e-5)
        assert said["se"] == pytest.approx(np.std(bits, ddof=1) / math.sqrt(n), abs=1e-5)
        assert said["divergence"] == pytest.approx(
            np.mean([one["bits"][name]["divergence"] for one in alone]), abs=1e-5
        )
    assert cell["se"] > 0


def test_rare_positions_have_as_many_queries_as_the_others():
    found = cells(make(LATE, queries=6))
    assert {cell["queries"] for cell in found.values()} == {6}
    assert ("x1.post", "A4") in found


def test_every_cell_says_what_it_knows_best_and_json_can_hold_it():
    document = make(text=TEXT)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for cell in document["cells"]:
        measured = {key: value for key, value in cell.items() if key not in NOTHING} | NOTHING
        assert convert.plain(with_best(convert.parsed(Cell, measured, "cell"))) == cell
    assert convert.parsed(Map, document, "map").to_dict() == document
    first = cells(document)["x0.post", "F1"]
    assert first["best"] == "F1"  # the digit is all that there is to see there


def test_the_same_seed_gives_the_same_map():
    assert make(LATE) == make(LATE)
    assert make(LATE, seed=4) != make(LATE)


def test_a_condition_chooses_the_inputs():
    task = few_sums()
    document = make(LATE, where="F1 == 9 and S1 == 9", queries=3)
    assert document["where"] == "F1 == 9 and S1 == 9"
    assert make(LATE)["where"] is None
    generator, chosen = torch.Generator().manual_seed(3), []
    while len(chosen) < 3:
        rows = task.sample(3, generator=generator)
        chosen += [task.decode(row) for row in rows if row[1] == row[5] == 9]
    alone = [cells(make(LATE, text=text))["x1.post", "="]["log2_domain_over_preimage"] for text in chosen[:3]]
    cell = cells(document)["x1.post", "="]
    assert cell["log2_domain_over_preimage"] == pytest.approx(np.mean(alone), abs=1e-5)


def test_a_condition_may_leave_out_a_position():
    document = make(LATE, where="C1 == 'no'", queries=3)
    assert "A4" not in document["ats"]
    assert "A3" in document["ats"]


@pytest.fixture
def fewer_pairs(monkeypatch):
    monkeypatch.setattr(mapping, "null_epsilon", partial(mapping.null_epsilon, n=600))


def test_a_null_epsilon_is_each_cells_own_and_cells_that_have_none_are_left_out(fewer_pairs):
    """At `+` every input has the same embedding, so that all pairs match at any ε."""
    document = make(("x0.pre", "x1.post"), epsilon="null:0.1")
    assert (document["epsilon"], document["epsilon_rule"]) == (None, "null:0.1")
    found = cells(document)
    assert ("x0.pre", "+") not in found
    assert ("x1.post", "F1") not in found  # of four first digits, each is that of many pairs
    limit = mapping.null_epsilon(
        probed(), few_sums(), ["x1.post"], 0.1, role="A4", generator=torch.Generator().manual_seed(3)
    )["x1.post"].epsilon
    assert found["x1.post", "A4"]["epsilon"] == limit != found["x1.post", "="]["epsilon"]
    constant = make(LATE, epsilon=limit)
    expected = cells(constant)["x1.post", "A4"]
    assert expected["bits"] == found["x1.post", "A4"]["bits"]
    assert json.dumps(document, allow_nan=False)


def test_a_null_epsilon_that_no_cell_has_is_an_error(fewer_pairs):
    with pytest.raises(UserError, match=r"null:0\.05 is out of reach"):
        make(("x0.pre",), epsilon="null:0.05")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epsilon": "causal:0.05"}, "a map takes one epsilon a site: a number or null:P"),
        ({"queries": 1}, "a map needs at least 2 queries a cell for its standard errors, not 1"),
        ({"text": TEXT, "where": "F1 == 5"}, "give an input or a condition, not both"),
        ({"where": "F1 == 9 and F1 == 4"}, "are too rare for 4 queries: use fewer, or another condition"),
        ({"where": "F1"}, "'F1' is not a condition"),
        ({"where": "Z == 1"}, "Z"),
        ({"text": "500+990=1491"}, "500+990 is 1490"),
        ({"text": "nonsense"}, "does not tokenise"),
    ],
)
def test_a_map_that_cannot_be_says_why(changes, words):
    with pytest.raises(UserError) as raised:
        make(LATE, **changes)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


class Endless(FewSums):
    """A domain that only draws are known of."""

    def __init__(self) -> None:
        super().__init__(few_sums().numbers.tolist())
        self.size = None

    def enumerate(self, block: int = 65536):
        raise AssertionError("asked for all inputs")


def test_a_map_of_a_task_that_cannot_enumerate_is_estimated_and_close_to_the_exact_one():
    document = make(LATE, Endless(), draws=8000)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["exact"], document["domain"], document["drawn"], document["drawn_given"]) == (False, None, 8000, 0)
    exact = cells(make(LATE))
    said = [cell for cell in cells(document).values() if "why_not" not in cell]
    assert len(said) > 6
    too_much = []
    for cell in said:
        truth = exact[cell["site"], cell["at"]]
        assert cell["log2_domain_over_preimage"] == pytest.approx(truth["log2_domain_over_preimage"], abs=0.4)
        for name, bits in cell["bits"].items():
            whole = truth["bits"][name]
            too_much.append(bits["bits"] - whole["log_score"])
            assert bits["entropy_difference"] == pytest.approx(whole["bits"], abs=0.15), name
            assert bits["of"] == pytest.approx(truth["bits"][name]["of"], abs=0.05)
    # A lower bound; in a domain this small, the query itself, which a score leaves out, is much of its preimage.
    assert -0.4 < np.mean(too_much) < 0


def test_cells_with_too_few_members_say_nothing_and_why():
    document = make(LATE, Endless(), draws=500, text=TEXT)
    silent = [cell for cell in document["cells"] if "why_not" in cell]
    assert 0 < len(silent) < len(document["cells"])
    for cell in silent:
        assert (cell["bits"], cell["log2_domain_over_preimage"], cell["se"], cell["best"]) == ({}, None, None, None)
        assert cell["members"] < 30
        assert cell["why_not"].startswith("the query had under 30 effective members")
    one = next(cell for cell in document["cells"] if "why_not" not in cell)
    assert all(bits["se"] > 0 or bits["of"] < 1e-9 or bits["bits"] == 0 for bits in one["bits"].values())
    assert any(bits["bits"] > 0 for bits in one["bits"].values())


def test_a_sampled_map_takes_conditions_and_seeds_and_refuses_no_draws():
    task = Endless()
    document = make(LATE, task, draws=600, where="F1 == 9", queries=3)
    assert document["where"] == "F1 == 9"
    assert make(LATE, task, draws=600, where="F1 == 9", queries=3) == document
    assert make(LATE, task, draws=600, where="F1 == 9", queries=3, seed=4) != document
    with pytest.raises(UserError, match="takes at least 1 draw from its prior, and 0 or more given each query"):
        make(LATE, task, draws=0)


def test_a_map_of_counting_is_made_of_draws_and_each_querys_own():
    study = Study(counting_probed(), counting_task(), name="tiny", sites=["x0.pre", "x1.post"])
    document = study.map(queries=3, where="count < 4", epsilon=0.3, seed=0, draws=3000, draws_given=150).to_dict()
    assert (document["exact"], document["domain"], document["drawn"]) == (False, None, 3000)
    assert document["drawn_given"] == 150 * len(counting_task().conditions)
    assert document["ats"] == ["|", "letter", ":", "answer"]
    found = cells(document)
    assert len(found) == 8
    embedded = found["x0.pre", "|"]["bits"]
    assert embedded["position"]["bits"] > 0.9 * embedded["position"]["of"] > 3
    assert embedded["letter"]["bits"] == pytest.approx(0, abs=0.3)
