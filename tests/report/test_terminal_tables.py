from __future__ import annotations

import pytest
from rich.cells import cell_len

from inversionview.report.terminal_tables import render_hypotheses_terminal, render_validation_terminal
from tests.report.console import printed
from tests.report.examples import hypotheses, validation

TARGETS = ["coverage of at least 90%", "a median width of |B| of at most 1 bit"]


def hypotheses_drawn(width: int = 160) -> list[str]:
    return printed(lambda console: render_hypotheses_terminal(hypotheses(), console), width)


def validation_drawn(width: int = 120) -> list[str]:
    return printed(lambda console: render_validation_terminal(validation(), console, targets=TARGETS), width)


def test_a_hypothesis_shows_its_numbers_and_its_controls() -> None:
    lines = hypotheses_drawn()
    row = next(line for line in lines if line.startswith("F1 + S1 == 14  a0.0 at ="))
    for number in ("98.2% (97.1% to 99.0%)", "6,394", "6.2%", "15.92", "0.013"):
        assert number in row
    assert "random input 7.1% · begin token 6.2% · random direction – · no activation 6.2%" in "\n".join(lines)
    assert any("corrected for 13 sites tried" in line for line in lines)


def test_what_could_not_be_tested_says_why_and_shows_no_numbers() -> None:
    lines = [line for line in hypotheses_drawn() if "x1.post" in line]
    assert lines == ["F1 + S1 == 14, x1.post at =: not tested, because only the query itself is in the preimage"]
    nothing = printed(lambda console: render_hypotheses_terminal(hypotheses()[1:], console), 160)
    assert len(nothing) == 1


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
