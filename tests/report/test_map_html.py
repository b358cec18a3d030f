from __future__ import annotations

import re
from typing import Any

import pytest

from inversionview.report import colors
from inversionview.report.html_page import stylesheet
from inversionview.report.map import notes
from inversionview.report.map_html import render_map_fragment, render_map_html
from tests.report.examples import addition_map, as_map
from tests.report.page import Page


def heat(document: dict[str, Any]) -> list[list[dict]]:
    return [row["cells"] for row in Page(render_map_fragment(as_map(document))).tables[0]]


def test_sites_are_rows_and_named_positions_columns() -> None:
    document = addition_map()
    header, *lines = heat(document)
    assert [cell["text"] for cell in header[1:]] == document["ats"]
    assert [line[0]["text"] for line in lines] == document["sites"]
    assert {len(line) for line in lines} == {13}
    assert all(line[0]["scope"] == "row" for line in lines)


def test_a_cell_shows_its_best_feature_its_bits_and_its_share_as_colour() -> None:
    lines = {line[0]["text"]: line for line in heat(addition_map())}
    assert lines["a0.0"][8]["text"].startswith("F1+S14.0 ●F1, S1, C1, four digits")
    assert lines["a0.0"][8]["class"] == "cell p8"
    assert lines["a1.2"][8]["text"].startswith("A22.0 ◐")
    assert lines["a1.2"][8]["class"] == "cell p5"
    assert lines["a0.2"][8]["text"].startswith("·")
    assert lines["a0.2"][8]["class"] == "cell"


def test_a_cell_opens_to_all_its_numbers() -> None:
    document = addition_map()
    page = Page(render_map_fragment(as_map(document)))
    cell = document["cells"][12 + 7]
    panel = page.tables[1 + 12 + 7]
    assert [row["cells"][0]["text"] for row in panel[1:]][:3] == ["F1+S1", "F1", "S1"]
    assert {row["cells"][0]["text"] for row in panel[1:]} == set(cell["bits"])
    assert [c["text"] for c in panel[1]["cells"]] == ["F1+S1", "3.96 ± 0.01", "4.00", "99%", "3.98"]
    assert {row["cells"][0]["text"] for row in panel if row["class"] == "known"} == set(cell["knows"])
    assert "7.25 ± 0.04 bits about the whole input mean over 100 queries" in page.text
    summaries = [attributes for tag, attributes in page.elements if tag == "summary"]
    assert len(summaries) == len(document["cells"])  # a summary takes the keyboard's focus and opens by it
    assert summaries[12 + 7]["title"] == "a0.0 at =: F1+S1, 3.96 of 4.00 bits (99%)"


def test_one_input_has_no_errors_and_blanks_where_it_lacks_a_position() -> None:
    document = addition_map(text="615+861=1476")
    page = Page(render_map_fragment(as_map(document)))
    assert "±" not in page.text
    assert "615+861=1476" in page.text
    assert [cells[12]["text"] for cells in heat(document)[1:]] == [""] * 13


def test_negative_bits_are_written_with_a_minus() -> None:
    document = addition_map(text="615+861=1476")
    document["cells"][0]["bits"]["C1"]["bits"] = -0.31
    assert "−0.31" in Page(render_map_fragment(as_map(document))).text


def test_the_notes_and_the_scale_are_shown() -> None:
    text = Page(render_map_html(as_map(addition_map()), title="t")).text
    for note in notes(as_map(addition_map())):
        assert note in text
    assert "0% 100% of the entropy" in text


def test_nothing_is_fetched_and_nothing_runs() -> None:
    page = Page(render_map_html(as_map(addition_map()), title="t"))
    policy = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "form"}
        assert not {"src", "id", "href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?:|//", stylesheet("map.css"))


def test_styles_reach_only_what_is_ours() -> None:
    css = re.sub(r"/\*.*?\*/", "", stylesheet("map.css"), flags=re.DOTALL)
    depth, selector = 0, ""
    for character in css:
        if character == "{":
            assert depth or selector.strip().startswith("@media") or ".inversionview" in selector, selector
            depth, selector = depth + 1, ""
        elif character == "}":
            depth, selector = depth - 1, ""
        else:
            selector += character
    assert depth == 0


def test_names_are_text_whatever_they_hold() -> None:
    document = addition_map()
    nasty = '"><script>alert(1)</script><b onclick=x>'
    document["study"] = document["sites"][0] = document["ats"][0] = nasty
    document["epsilon_rule"] = nasty
    cell = document["cells"][1]
    cell["site"], cell["at"], cell["best"], cell["knows"] = nasty, nasty, nasty, [nasty, nasty + "2"]
    cell["bits"] = {nasty: cell["bits"]["F2"]}
    page = Page(render_map_html(as_map(document), title=nasty))
    assert "script" not in {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count("alert(1)") >= 5


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
def test_text_is_readable_on_every_cell_and_panel(theme: colors.Theme) -> None:
    for step in range(colors.STEPS + 1):
        assert colors.contrast(theme.ink, colors.background(theme, step)) >= 4.5
    for text in (theme.ink, theme.muted):
        assert colors.contrast(text, theme.panel) >= 4.5
    inside = re.findall(r"\.cell [^{]*\{[^}]*color: ([^;]+);", re.sub(r"print-color", "", stylesheet("map.css")))
    assert set(inside) == {"var(--muted)"}  # of the dot alone, which has no colour behind it


def test_a_cell_that_says_nothing_shows_why() -> None:
    document = addition_map() | {"exact": False, "domain": None, "drawn": 1000}
    document["cells"][3] |= {
        "bits": {}, "best": None, "knows": [], "log2_domain_over_preimage": None, "se": None,
        "why_not": "2 of 20 <queries> had too few",
    }  # fmt: skip
    page = Page(render_map_html(as_map(document), title="t"))
    assert "2 of 20 <queries> had too few" in page.text
    assert "?" in page.text.split()


def test_an_empty_map_is_drawn() -> None:
    assert Page(render_map_html(as_map(addition_map() | {"sites": [], "ats": [], "cells": []}), title="t"))
