from __future__ import annotations

import re
import sys
from functools import partial

import pytest

from inversionview.errors import UserError
from inversionview.report.page import plain_styles, render_fragment, render_page
from inversionview.report.patching import moved, notes, settings
from inversionview.report.patching_plot import plot_patching
from inversionview.report.patching_terminal import render_patching_terminal
from inversionview.report.wire import pack_patching
from inversionview.results import convert
from tests.report.console import printed
from tests.report.page import Page
from tests.report.patching import document, effect


def lines(width=100, **changes):
    return printed(partial(render_patching_terminal, document(**changes)), width=width)


def test_the_terminal_shows_every_order_with_what_was_added():
    shown = lines()
    assert shown[0] == "addition: what patching does to the logit difference at A1"
    text = " ".join(" ".join(shown).split())
    assert "10.00 ± 0.50 in the clean run, −10.00 ± 0.50 in the contrast run" in text
    assert "activations of the contrast run into the clean one" in text
    assert (
        "pairs: 800 contrast: change:F1 where: A1 != 1 seed: 0 left out: 1,190 by where, 10 without a contrast" in text
    )
    assert "a0.0 at = 5.00 ± 0.25 5.00 ± 0.12 25% █████" in text
    assert "+ embed at F1 −10.00 ± 0.25 20.00 ± 0.12 100% " + "█" * 20 in text
    assert text.index("in the order given") < text.index("in reverse order")
    assert "embed at F1 10.00 ± 0.25 0.00 ± 0.12 0%" in text


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, lines(width))) <= width


def test_single_sites_and_all_together_are_named_whole():
    both = [effect("each", ["a0.0"], ["="], 5.0), effect("each", ["m1@8"], ["8"], 5.0)]
    text = " ".join(lines(effects=[*both, effect("together", ["a0.0", "m1@8"], ["=", "8"], 1.0)]))
    assert "one site at a time" in text
    assert "m1 at 8" in text
    assert "+ m1" not in text
    assert "a0.0 at =, m1 at 8" in text


def test_moved_is_towards_the_run_that_the_values_are_of():
    into_clean, into_contrast = document(), document(direction="clean-into-contrast")
    assert moved(into_clean, into_clean.effects[0]) == pytest.approx(0.25)
    assert moved(into_contrast, into_contrast.effects[0]) == pytest.approx(0.75)
    assert moved(document(contrast_run=10.0), into_clean.effects[0]) is None
    assert "activations of the clean run into the contrast one" in " ".join(" ".join(lines(
        direction="clean-into-contrast")).split())  # fmt: skip


def test_one_pair_has_no_errors():
    effects = [effect("each", ["a0.0"], ["="], 5.0) | {"se": None, "patched_se": None}]
    text = " ".join(lines(effects=effects, clean_se=None, contrast_run_se=None, where=None, seed=None, study=None))
    assert "±" not in text.partition("Patched: the mean")[0]
    assert [name for name, _ in settings(document(where=None, seed=None, left_out={}))] == ["pairs", "contrast"]


def test_the_page_shows_the_same():
    page = Page(render_page([pack_patching(document())], title="Patching"))
    assert len(page.tables) == 2
    rows = [[cell["text"] for cell in row["cells"]] for row in page.tables[0][1:]]
    assert rows == [
        ["a0.0 at =", "5.00 ± 0.25", "5.00 ± 0.12", "25%"],
        ["+ embed at F1", "−10.00 ± 0.25", "20.00 ± 0.12", "100%"],
    ]
    for note in notes():
        assert note in page.text
    tables = pack_patching(document())["words"]["tables"].values()
    assert [row["bar"] for table in tables for row in table["rows"]] == pytest.approx([0.25, 1, 0.0002, 1])


def test_names_are_text_whatever_they_hold():
    nasty = '"><script>alert(1)</script><b onclick=x>'
    effects = [effect(nasty, [nasty], [nasty], 5.0), *convert.plain(document().effects[1:])]
    made = document(study=nasty, target=nasty, contrast=nasty, where=nasty, effects=effects)
    page = Page(render_page([pack_patching(made)], title=nasty))
    assert [tag for tag, _ in page.elements].count("script") == 2, "the data, and what draws it"
    assert not [attributes for tag, attributes in page.elements if tag == "b" and attributes]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_the_fragment_has_no_ids_and_nothing_from_elsewhere():
    page = Page(render_fragment(pack_patching(document())))
    assert not any({"id", "src", "href"} & set(attributes) for _, attributes in page.elements)
    assert not re.search(r"url\(|@import|https?:", plain_styles())


def test_the_plot_has_a_panel_for_each_order_with_both_runs(tmp_path):
    figure = plot_patching(document(), tmp_path / "effects.png")
    assert (tmp_path / "effects.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 2
    for axes, first in zip(figure.axes, (5.0, 9.996), strict=True):
        assert [bar.get_width() for bar in axes.patches] == [first, -10.0]
        lines = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
        assert lines["clean run"] == 10.0
        assert lines["contrast run"] == -10.0
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a0.0 at =", "+ embed at F1"]


def test_a_plot_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be plotted: its name must end in one of"):
        plot_patching(document(), tmp_path / "effects.xyz")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_a_plot_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"plots need matplotlib: pip install matplotlib"):
        plot_patching(document())
