from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from inversionview.errors import UserError
from inversionview.report import colors
from inversionview.report.map import notes
from inversionview.report.map_terminal import _strength, render_map_terminal
from inversionview.report.terminal_lines import tint
from tests.report.console import printed
from tests.report.examples import addition_map, as_map, large_map


def drawn(document: dict[str, Any], width: int = 80, **options: object) -> list[str]:
    return printed(lambda console: render_map_terminal(as_map(document), console), width, **options)


def pair(lines: list[str], site: str) -> tuple[str, str]:
    i = next(i for i, line in enumerate(lines) if line.startswith(site + " "))
    return lines[i], lines[i + 1]


@pytest.mark.parametrize("width", [10, 20, 40, 80, 100, 140, 240])
@pytest.mark.parametrize("text", [None, "615+861=1476"])
def test_no_line_is_wider_than_the_console(text: str | None, width: int) -> None:
    assert max(map(cell_len, drawn(addition_map(text=text), width))) <= width


def test_eighty_columns_hold_every_position_side_by_side() -> None:
    lines = drawn(addition_map())
    header = next(line for line in lines if line.split() == addition_map()["ats"])
    names, bits = pair(lines, "a0.0")
    assert names.split()[1:] == ["F1", "F2", "F3", "·", "S1", "S2", "S3", *["F1+S1"] * 3, "A3", "A4"]
    assert bits.split() == [*["3.1●", "3.3●", "3.3●"] * 2, *["4.0●⁴"] * 3, "3.3●", "2.3●"]
    place = names.index("F1+S1")
    assert place <= header.index("=") < place + 5
    assert bits.index("4.0●⁴") == place


def test_signs_tell_shares_without_colour() -> None:
    lines = drawn(addition_map())
    assert "2.0◐" in pair(lines, "a1.2")[1]
    assert "0.2○" in pair(lines, "a1.0")[1]
    assert "\x1b" not in "\n".join(lines)


def test_a_wide_console_names_the_other_features_known() -> None:
    assert "4.0● F1 S1 C1 +1" in pair(drawn(addition_map(), 240), "a0.0")[1]
    assert "4.0● F1 +3" in pair(drawn(addition_map(), 140), "a0.0")[1]


def test_a_narrow_console_sets_positions_below_each_other() -> None:
    lines = drawn(addition_map(), 40)
    assert sum(line.startswith("x1.post") for line in lines) == 3
    headers = [line.split() for line in lines if line.startswith("        ") and "●" not in line and "." not in line]
    assert [at for header in headers for at in header] == addition_map()["ats"]


def test_a_long_name_is_cut() -> None:
    document = addition_map()
    for cell in document["cells"]:
        cell["bits"] = {"four digits": {"bits": 0.9, "of": 0.9, "se": 0.1, "divergence": 0.9}}
    assert "four…" in pair(drawn(document), "a0.2")[0]
    assert "four digits" in pair(drawn(document, 240), "a0.2")[0]


def test_a_missing_position_is_blank_and_nothing_known_is_a_dot() -> None:
    names, bits = pair(drawn(addition_map(text="615+861=1476")), "a0.2")
    assert names.split()[1:] == ["F1", "F2", "F3", "·", "S1", "S2", "S3", "·", "·", "·", "A3"]
    assert len(bits.split()) == 7


def test_the_legend_states_every_sign_and_the_notes() -> None:
    lines = drawn(addition_map(), 240)
    for sign in "●◐○·":
        assert sum(line.startswith(f" {sign}  ") for line in lines) == 1
    for note in notes(as_map(addition_map())):
        assert note in lines
    assert any("615+861=1476" in line for line in drawn(addition_map(text="615+861=1476"))[:1])


def test_known_partly_known_and_hardly_known_have_their_own_colour_that_text_is_readable_on() -> None:
    styles = [tint(_strength(share)) for share in (1.0, 0.6, 0.2)]
    behind = [style.bgcolor.name for style in styles if style.bgcolor]
    assert len(set(behind)) == 3
    for style in styles:
        assert style.color is not None
        assert style.bgcolor is not None
        assert colors.contrast(style.color.name, style.bgcolor.name) >= 4.5
    assert "48;2;" in "\n".join(drawn(addition_map(), force_terminal=True, color_system="truecolor"))


def test_hostile_names_reach_no_terminal() -> None:
    document = addition_map()
    document["study"] = document["sites"][0] = "[red]\x1b[2J"
    document["ats"][0] = "\n"
    document["cells"][20]["best"] = "\x1b[31m"
    document["cells"][20]["bits"] = {"\x1b[31m": document["cells"][0]["bits"]["F1"]}
    lines = drawn(document)
    assert "\x1b" not in "\n".join(lines)
    assert lines[0].startswith("[red]")


def test_cells_that_say_nothing_have_a_sign_of_their_own_that_is_explained() -> None:
    document = addition_map() | {"exact": False, "domain": None, "drawn": 200_000, "drawn_given": 9000}
    cell = document["cells"][12 * 5 + 7]
    cell |= {"bits": {}, "best": None, "knows": [], "log2_domain_over_preimage": None, "se": None, "members": 2.5,
             "why_not": "3 of 20 queries had under 30 effective members"}  # fmt: skip
    lines = drawn(document, 240)
    silent, others = (pair(lines, site)[0].split().count("?") for site in (cell["site"], "a0.0"))
    assert (silent, others) == (1, 0)
    words = "out of 200,000 inputs drawn from the prior, and 9,000 a query that share something with it."
    said = " ".join(" ".join(lines).split())
    assert f"{words} ? : too few members were drawn to say anything (1 of 156)." in said


def test_an_empty_map_is_drawn() -> None:
    assert drawn(addition_map() | {"sites": [], "ats": [], "cells": []})


def test_of_hundreds_of_sites_the_strongest_cells_are_printed_and_the_rest_is_pointed_to() -> None:
    lines = drawn(large_map(), 100)
    assert len(lines) < 30
    first, second = (line.split() for line in lines[2:4])
    assert first[:2] == ["F1", "a3.2"]
    assert first[2].endswith("●")
    assert second[:2] == ["S1", "a7.4"]
    assert second[2].endswith("◐")
    words = " ".join(" ".join(lines).split())
    assert "The strongest of 100 cells; all of them with --html FILE or --json." in words
    assert "From a bank of 4,000 inputs" in words
    assert "A lower bound" in words
    assert max(map(cell_len, drawn(large_map(), 40))) <= 40


def test_of_one_feature_a_cell_has_its_share_and_what_the_token_gives_is_dim() -> None:
    def draw(console: Console) -> None:
        render_map_terminal(as_map(addition_map()), console, "F1")

    lines = printed(draw, 80)
    assert lines[0].endswith("in bits about F1")
    names, bits = pair(lines, "a0.0")
    assert names.split()[1] == "99%"
    assert bits.split()[0] == "3.1●"
    colored = printed(draw, 80, force_terminal=True, color_system="truecolor")
    assert "\x1b[2m" in next(line for line in colored if "x0.pre" in line)
    at_end = next(line for line in colored if "a0.0" in line)
    assert (at_end.count("\x1b[2m"), at_end.count("99%")) == (1, 4)  # F1 itself gives F1, and nothing else does
    with pytest.raises(UserError, match="no feature 'G9': it has F1, "):
        render_map_terminal(as_map(addition_map()), Console(), "G9")
