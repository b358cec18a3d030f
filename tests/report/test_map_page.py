from __future__ import annotations

import re
from typing import Any

import pytest

from inversionview.report import bundle, colors
from inversionview.report.map import marks, notes
from inversionview.report.page import DATA, render_fragment, render_page
from inversionview.report.wire import pack_map
from tests.report.examples import addition_map, as_map
from tests.report.page import Page


def heat(document: dict[str, Any]) -> list[list[dict]]:
    return [row["cells"] for row in Page(render_fragment(pack_map(as_map(document)))).tables[0]]


def test_sites_are_rows_and_named_positions_columns() -> None:
    document = addition_map()
    header, *lines = heat(document)
    assert [cell["text"] for cell in header[1:]] == document["ats"]
    assert [line[0]["text"] for line in lines] == document["sites"]
    assert {len(line) for line in lines} == {13}
    assert all(line[0]["scope"] == "row" for line in lines)


def test_a_cell_shows_its_best_feature_its_bits_and_the_others_it_knows() -> None:
    lines = {line[0]["text"]: line for line in heat(addition_map())}
    assert lines["a0.0"][8]["text"].startswith("F1+S1 4.0 ● F1, S1, C1, four digits")
    assert lines["a1.2"][8]["text"].startswith("A2 2.0 ◐")
    assert lines["a0.2"][8]["text"].startswith("·")


def test_the_page_holds_all_numbers_of_a_cell() -> None:
    document = addition_map()
    cell = pack_map(as_map(document))["cells"][12 + 7]
    assert cell["says"] == "F1+S1: 3.96 of 4.00 bits (99%); also F1, S1, C1, four digits"
    assert {name: feature["bits"] for name, feature in cell["bits"].items()} == pytest.approx(
        {name: feature["bits"] for name, feature in document["cells"][12 + 7]["bits"].items()}, abs=1e-4
    )


def test_one_input_has_no_errors_and_blanks_where_it_lacks_a_position() -> None:
    document = addition_map(text="615+861=1476")
    page = Page(render_fragment(pack_map(as_map(document))))
    assert "±" not in page.text
    assert "615+861=1476" in page.text
    assert [cells[12]["text"] for cells in heat(document)[1:]] == [""] * 13


@pytest.mark.parametrize(
    ("bits", "says", "face", "level"),
    [
        (-0.31, "nothing: under 10% of every feature", "·", "nothing"),
        (0.09, "nothing: under 10% of every feature", "·", "nothing"),
        (0.39, "C1: 0.39 of 1.00 bits (39%)", "C1", "little"),
        (0.5, "C1: 0.50 of 1.00 bits (50%)", "C1", "partly"),
        (0.9, "C1: 0.90 of 1.00 bits (90%)", "C1", "known"),
    ],
)
def test_a_cell_says_how_well_it_knows_what_it_knows_best(bits: float, says: str, face: str, level: str) -> None:
    document = addition_map(text="615+861=1476")
    known = document["cells"][0]["bits"]["C1"] | {"bits": bits, "of": 1.0}
    document["cells"][0] |= {"bits": {"C1": known}, "best": None, "knows": []}
    cell = pack_map(as_map(document))["cells"][0]
    assert (cell["says"], cell["face"][0], cell["level"]) == (says, face, level)


def test_features_that_nobody_asked_for_are_told_of_no_cell() -> None:
    document = addition_map(text="615+861=1476")
    document["cells"][0]["bits"]["token"] = {"bits": 9.0, "of": 9.0, "se": None, "divergence": 9.0}
    packed = pack_map(as_map(document))
    assert "token" not in packed["cells"][0]["says"]
    assert "token" in packed["cells"][0]["bits"], "whoever chooses it sees it"
    assert packed["unasked"] == ["held out", "position", "token"]


def test_what_the_token_gives_and_where_a_feature_is_known_first_come_with_the_map() -> None:
    document = addition_map()
    packed = pack_map(as_map(document))
    assert document["sites"][0] == "x0.pre"
    assert packed["given"]["F1"] == ["F1"]
    assert "F1+S1" not in packed["given"]["="]
    assert packed["known_from"]["F1+S1"]["="] == "a0.0"


def test_the_notes_and_the_scale_are_shown() -> None:
    text = Page(render_page([pack_map(as_map(addition_map()))], title="t")).text
    for note in notes(as_map(addition_map())):
        assert note in text
    for sign, _, words in marks():
        assert f"{sign} {words}" in text


def test_nothing_is_fetched_and_only_our_script_runs() -> None:
    page = Page(render_page([pack_map(as_map(addition_map()))], title="t"))
    [policy] = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[\w+/=]+'; style-src 'unsafe-inline'; base-uri 'none'; "
        r"form-action 'none'",
        policy,
    )
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "base", "form"}
        assert not {"src", "id", "href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert [a.get("type") for tag, a in page.elements if tag == "script"] == [DATA, None]


def test_names_are_text_whatever_they_hold() -> None:
    document = addition_map()
    nasty = '"><script>alert(1)</script><b onclick=x>'
    document["study"] = document["sites"][0] = document["ats"][0] = nasty
    document["epsilon_rule"] = nasty
    cell = document["cells"][1]
    cell["site"], cell["at"], cell["best"], cell["knows"] = nasty, nasty, nasty, [nasty, nasty + "2"]
    cell["bits"] = {nasty: cell["bits"]["F2"]}
    page = Page(render_page([pack_map(as_map(document))], title=nasty))
    assert [tag for tag, _ in page.elements].count("script") == 2, "the data, and what draws it"
    assert "b" not in {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count("alert(1)") >= 5


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
def test_text_is_readable_on_every_cell_and_panel(theme: colors.Theme) -> None:
    for step in range(colors.STEPS + 1):
        assert colors.contrast(theme.ink, colors.background(theme, step)) >= 4.5
    for text in (theme.ink, theme.muted):
        assert colors.contrast(text, theme.panel) >= 4.5
    inside = re.findall(r"\.map-cell ([^{]*)\{[^}]*[^-]color: ([^;]+);", bundle.layout())
    muted = [selector.strip() for selector, color in inside if color == "var(--muted)"]
    assert muted == [".none"], "of the dot alone, which has no colour behind it"
    assert {color for _, color in inside} <= {"var(--muted)", "var(--ink)", "inherit"}


def test_a_cell_that_says_nothing_shows_why() -> None:
    document = addition_map() | {"exact": False, "domain": None, "drawn": 1000}
    document["cells"][3] |= {
        "bits": {}, "best": None, "knows": [], "log2_domain_over_preimage": None, "se": None,
        "why_not": "2 of 20 <queries> had too few",
    }  # fmt: skip
    packed = pack_map(as_map(document))
    assert packed["cells"][3]["says"] == "not measured: 2 of 20 <queries> had too few"
    assert packed["cells"][3]["level"] is None
    assert "?" in Page(render_page([packed], title="t")).text.split()


def test_an_empty_map_is_drawn() -> None:
    assert Page(render_page([pack_map(as_map(addition_map() | {"sites": [], "ats": [], "cells": []}))], title="t"))
