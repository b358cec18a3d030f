"""Estimates of whole preimages, as the terminal and the HTML draw them in a reading."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from inversionview.report.page import render_fragment, render_page
from inversionview.report.reading import facts, group, shares, source_lines
from inversionview.report.terminal import render_terminal
from tests.report.console import printed
from tests.report.examples import addition, as_reading, estimated, exact, pack, text
from tests.report.page import Page


def captioned(reading: dict[str, Any], start: str) -> list[dict]:
    """The rows of the one table whose caption starts so."""
    page = Page(render_fragment(pack(reading)))
    [table] = [table for table, caption in zip(page.tables, page.captions, strict=True) if caption.startswith(start)]
    return table


def lines(reading: dict[str, Any], width: int = 160) -> list[str]:
    return printed(lambda console: render_terminal(as_reading(reading), console, details=True), width)


@pytest.mark.parametrize("reading", [exact(), estimated()])
def test_every_fact_is_drawn(reading: dict[str, Any]) -> None:
    said = [f"{fact.label}: {fact.words}" for fact in facts(as_reading(reading))]
    assert len(said) == (2 if reading["exact"] else 6)
    drawn, page = lines(reading, 200), Page(render_fragment(pack(reading))).text
    for fact in said:
        assert fact in drawn
        assert fact in page
    assert any("95% intervals" in line for line in drawn) != reading["exact"]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("reading", [exact(), estimated()])
def test_no_line_is_wider_than_the_console(reading: dict[str, Any], width: int) -> None:
    assert max(cell_len(line) for line in lines(reading, width)) <= width


def test_bits_about_features_are_a_table_best_first() -> None:
    rows = [line.split() for line in lines(exact()) if " of " in line and "━" in line]
    assert [row[:4] for row in rows[:3]] == [
        ["F1+S1", "4.09", "of", "4.09"], ["F1", "3.02", "of", "3.17"], ["S1", "2.91", "of", "3.17"],
    ]  # fmt: skip
    table = captioned(exact(), "Bits about features")
    assert [[cell["text"] for cell in row["cells"]][:3] for row in table[1:3]] == [
        ["F1+S1", "4.09", "of 4.09"], ["F1", "3.02", "of 3.17"],
    ]  # fmt: skip
    assert "(4.01 to 4.09)" in "\n".join(lines(estimated()))
    assert "about 0.9" in Page(render_fragment(pack(estimated()))).text


def test_the_curve_is_a_table_that_marks_our_epsilon() -> None:
    marked = [line.split() for line in lines(exact()) if line.startswith("▸")]
    assert marked == [["▸", "0.1", "6,394", "6.99", "0.8%"]]
    table = captioned(exact(), "Other ε")
    assert [row["cells"][0]["text"] for row in table if row["class"] == "ours"] == ["0.1"]
    assert [len(row["cells"]) for row in table] == [4, 4, 4, 4]


def test_shares_speak_of_all_members_where_they_are_known() -> None:
    reading = exact()
    assert shares(as_reading(reading), group(as_reading(reading)).members) == reading["shares"]
    shared = captioned(reading, "Share of all 6,394 members with the query's token")
    assert [row["cells"][1]["text"] for row in shared] == ["6", "97%"]
    none_listed = {**reading, "samples": []}
    assert captioned(none_listed, "Share of all 6,394 members")
    nobody = reading | {"counts": reading["counts"] | {"inside": 0}, "samples": []}
    assert shares(as_reading(nobody), []) == []


def test_the_overview_says_of_a_reading_without_members_why_it_says_nothing() -> None:
    reading = addition(draws=60)
    for sample in reading["samples"]:
        sample["inside"] = False
    reading["counts"]["inside"] = 0
    said = Page(render_page([pack(reading), pack(addition())], title="t")).text.partition("head 0 of layer 0")[0]
    assert "which is not to say that it is little: no input was found inside ε = 0.1." in said


def test_sources_tell_what_they_alone_contributed() -> None:
    reading = estimated()
    words = source_lines(as_reading(reading))[0][1]
    assert words.endswith("; 180 members, 41 found by no other source, 600 forwards of the model")
    assert ";" not in source_lines(as_reading(reading))[1][1]
    assert words in "\n".join(lines(reading, 200))
    assert words in Page(render_fragment(pack(reading))).text


@pytest.mark.parametrize("reading", [addition(draws=60), text(length=60, samples=4)])
def test_nothing_is_said_of_what_is_not_known(reading: dict[str, Any]) -> None:
    assert [fact.label for fact in facts(as_reading(reading))] == ["run"]
    joined = "\n".join(lines(reading))
    assert "size:" not in joined
    assert "other ε" not in joined
    captions = [name for name, table in pack(reading)["words"]["tables"].items() if table["rows"]]
    assert captions in (["shares", "sources"], ["sources"])
    drawn = Page(render_fragment(pack(reading))).captions
    assert [caption for caption in drawn if not caption.startswith(("Near misses", "Share of"))] == ["Sources"]
    assert any(caption.startswith("Share of") for caption in drawn) == ("shares" in captions)


def test_hostile_names_and_reasons_are_text() -> None:
    reading = estimated()
    reading["bits"][0]["name"] = reading["size"]["why_not"] = "[red]<script>alert(1)</script>\x1b[2J"
    scripts = [tag for tag, _ in Page(render_page([pack(reading)], title="t")).elements if tag == "script"]
    assert len(scripts) == 2, "the data, and what draws it"
    joined = "\n".join(lines(reading))
    assert "\x1b" not in joined
    assert joined.count("[red]<script>") == 4, "what it knows, and the bits; the members, and the size"


def test_an_exact_reading_uses_no_word_of_doubt() -> None:
    reading = exact()
    assert "about 6" not in "\n".join(lines(reading))
    assert "found" not in "\n".join(lines(reading))
    assert "found" in "\n".join(lines(estimated()))
