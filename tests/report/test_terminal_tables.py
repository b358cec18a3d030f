from __future__ import annotations

import pytest
from rich.cells import cell_len

from inversionview.report.hypotheses import packed, sentence, verdict
from inversionview.report.terminal_tables import render_hypotheses_terminal, render_validation_terminal
from tests.report.console import printed
from tests.report.examples import hypotheses, validation

TARGETS = ["coverage of at least 90%", "a median width of |B| of at most 1 bit"]


def hypotheses_drawn(width: int = 160) -> list[str]:
    return printed(lambda console: render_hypotheses_terminal(hypotheses(), console), width)


def validation_drawn(width: int = 120) -> list[str]:
    return printed(lambda console: render_validation_terminal(validation(), console, targets=TARGETS), width)


def test_a_hypothesis_shows_its_verdict_its_numbers_and_its_controls() -> None:
    lines = hypotheses_drawn()
    assert lines[0] == "F1 + S1 == 14, a0.0 at =: holds"
    assert lines[1] == (
        "It holds for 98.2% (97.1% to 99.0%) of 6,394 members, 15.9 times as often as in all inputs; p = 0.013 against "
        "random inputs, corrected for 13 sites."
    )
    assert lines[2].startswith("elsewhere: all inputs 6.2% · random input 7.1% · begin token 6.2% · random direction –")


def test_what_could_not_be_tested_says_why_and_shows_no_numbers() -> None:
    [head, why, *_] = hypotheses_drawn()[3:]
    assert head == "F1 + S1 == 14, x1.post at =: not tested"
    assert why == "Not tested, because only the query itself is in the preimage."
    nothing = printed(lambda console: render_hypotheses_terminal(hypotheses()[1:], console), 160)
    assert len(nothing) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "holds"), ({"interval": [0.85, 0.99]}, "holds for some"), ({"interval": None}, "holds for some"),
        ({"p_corrected": 0.06}, "no more than elsewhere"), ({"p_corrected": 0.05}, "holds"),
        ({"p_corrected": None}, "unclear"), ({"interval": [0.9, 0.9]}, "holds"),
        ({"consistency": None}, "not tested"),
    ],
)  # fmt: skip
def test_the_verdict_goes_by_the_interval_and_the_corrected_p(changes: dict[str, object], said: str) -> None:
    test = hypotheses(**changes)[0]
    assert verdict(test) == said
    assert packed(test)["verdict"] == said
    assert packed(test)["says"] == sentence(test)


def test_a_share_that_is_exact_has_no_interval() -> None:
    assert "holds for 90.0% of 6,394 members," in sentence(hypotheses(consistency=0.9, interval=[0.9, 0.9])[0])


def test_estimators_show_coverage_widths_and_the_targets() -> None:
    lines = validation_drawn()
    row = next(line for line in lines if line.startswith("importance"))
    for number in ("199 of 204", "94.1%", "0.421 bits", "0.0712 bits", "yes"):
        assert number in row
    dropped = next(line for line in lines if line.startswith("capture-recapture")).split()
    assert dropped[-6:] == ["of", "204", "0.0%", "–", "–", "no"]
    assert "target: coverage of at least 90%" in lines


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_console(width: int) -> None:
    assert max(map(cell_len, hypotheses_drawn(width) + validation_drawn(width))) <= width


def test_hostile_names_reach_no_terminal() -> None:
    hostile = "[red]\x1b[2J"
    tests = [*hypotheses(name=hostile)[:1], *hypotheses(why_not=hostile)[1:]]
    joined = "\n".join(printed(lambda console: render_hypotheses_terminal(tests, console), 160))
    assert "\x1b" not in joined
    assert joined.count("[red]") >= 2
