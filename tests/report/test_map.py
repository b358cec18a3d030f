from __future__ import annotations

from dataclasses import replace
from math import log2

import pytest

from inversionview.report import map as plain
from inversionview.results import convert
from inversionview.results import map as results
from inversionview.results.map import Cell
from tests.report.examples import addition_map, as_map, finished


def cell(**known: tuple[float, float]) -> Cell:
    """A cell with bits and entropy of each feature."""
    document = {
        "site": "a0.0", "at": "=", "queries": 1, "log2_domain_over_preimage": 7.0, "se": None,
        "knows": [], "best": None,
        "bits": {name: {"bits": bits, "of": of, "se": None, "divergence": bits} for name, (bits, of) in known.items()},
    }  # fmt: skip
    return convert.parsed(Cell, document, "cell")


def test_of_the_features_that_are_known_the_one_with_most_bits_is_best() -> None:
    measured = cell(F1=(3.17, 3.17), F1S1=(3.9, 4.1), A2=(3.32, 3.33), F2S2=(3.6, 4.1))
    assert results.known_features(measured) == ["F1S1", "A2", "F1"]
    assert results.best_feature(measured) == "F1S1"


def test_where_none_is_known_the_largest_share_is_best() -> None:
    assert results.best_feature(cell(F1S1=(2.0, 4.1), C1=(0.6, 1.0))) == "C1"
    assert results.known_features(cell(F1S1=(2.0, 4.1), C1=(0.6, 1.0))) == []


def test_a_feature_half_known_with_many_bits_loses_against_one_that_is_known() -> None:
    assert results.best_feature(cell(F1S1=(3.6, 4.1), C1=(0.95, 1.0))) == "C1"


def test_the_threshold_itself_is_known() -> None:
    assert results.known_features(cell(C1=(0.9, 1.0))) == ["C1"]
    assert results.known_features(cell(C1=(0.8999, 1.0))) == []


def test_next_to_nothing_is_nothing() -> None:
    assert results.best_feature(cell(C1=(0.049, 1.0), F1=(-0.2, 3.17))) is None
    assert results.best_feature(cell(C1=(0.05, 1.0))) == "C1"
    assert results.best_feature(cell()) is None


def test_a_constant_feature_is_never_best() -> None:
    assert results.best_feature(cell(constant=(0.0, 0.0), C1=(0.2, 1.0))) == "C1"
    assert results.best_feature(cell(constant=(0.0, 0.0))) is None
    assert results.best_feature(cell(rare=(0.02, 0.02))) is None  # known, but hardly a fact


def test_ties_go_to_the_first_whatever_the_rounding_error() -> None:
    assert results.best_feature(cell(C1=(0.99, 1.0), four=(0.99 + 1e-12, 1.0))) == "C1"
    assert results.best_feature(cell(C1=(0.6, 1.0), four=(0.6 + 1e-12, 1.0))) == "C1"


def test_a_finished_cell_holds_what_it_knows() -> None:
    measured = cell(F1=(3.1, 3.17), C1=(0.2, 1.0))
    assert finished(convert.plain(measured)) == convert.plain(measured) | {"knows": ["F1"], "best": "F1"}


@pytest.mark.parametrize(("share", "sign"), [(1.0, "●"), (0.9, "●"), (0.899, "◐"), (0.5, "◐"), (0.499, "○")])
def test_signs_change_at_the_thresholds(share: float, sign: str) -> None:
    assert plain.mark(share) == sign


def test_rows_follow_the_order_given_and_leave_gaps() -> None:
    document = addition_map(text="615+861=1476")
    document["cells"].reverse()
    found = dict(plain.rows(as_map(document)))
    assert list(found) == document["sites"]
    line = found["a0.3"]
    assert [c and c.at for c in line] == [*document["ats"][:-1], None]
    assert {c.site for c in line if c} == {"a0.3"}


def test_notes_state_the_rule_the_prior_and_what_was_measured() -> None:
    words = " ".join(plain.notes(as_map(addition_map())))
    for part in ("H(feature) − H(feature | preimage), averaged over queries", "at least 90%",
                 "the one with the most bits", "largest share",
                 "uniform over the 810,000 inputs", "100 random queries a cell (seed 0)", "ε = 0.1",
                 "Exact preimages."):  # fmt: skip
        assert part in words
    assert "Blank" not in words


def test_a_map_says_where_preimages_are_little_more_than_their_queries() -> None:
    document = as_map(addition_map())
    assert "by chance" not in " ".join(plain.notes(document))
    alone = replace(document.cells[0], log2_domain_over_preimage=log2(810_000 / 9.9))
    some = replace(document.cells[1], log2_domain_over_preimage=log2(810_000 / 10.1))
    [said] = [words for words in plain.notes(replace(document, cells=(alone, some))) if "by chance" in words]
    assert said.startswith("In 1 of 2 cells fewer than 10 inputs are inside ε: there any feature")


def test_notes_of_one_input_and_of_samples_differ() -> None:
    document = addition_map(text="615+861=1476") | {"exact": False, "domain": None}
    words = " ".join(plain.notes(as_map(document)))
    assert "averaged" not in words
    assert "One query a cell." in words
    assert "Blank: no such position." in words
    assert "Exact" not in words
    assert "sampled" in words
    assert "615+861=1476" in plain.heading(as_map(document))


def test_a_rule_for_epsilon_is_named_with_the_values_it_gave() -> None:
    document = addition_map() | {"epsilon": None, "epsilon_rule": "null:0.01"}
    assert "ε by null:0.01" in " ".join(plain.notes(as_map(document)))
    for i, drawn in enumerate(document["cells"]):
        drawn["epsilon"] = 0.05 + i / 1000
    assert "ε from 0.05 to 0.205 (null:0.01)" in " ".join(plain.notes(as_map(document)))
