from __future__ import annotations

import pytest
from rich.cells import cell_len

from inversionview.report.causal import FEATURE_COLUMNS, GROUP_COLUMNS, answer, feature_rows, group_rows
from inversionview.report.causal_terminal import render_causal_terminal
from inversionview.report.page import render_fragment, render_page
from inversionview.report.wire import pack_causal
from tests.report.causal import document, effect, feature
from tests.report.console import printed
from tests.report.page import Page


def drawn(width: int = 140, **changes) -> list[str]:
    return printed(lambda console: render_causal_terminal(document(**changes), console), width)


def test_the_answer_says_what_members_and_others_do():
    assert answer(document()) == (
        "Used: activations of members leave the output as it is (0 nats), those of random non-members move it by "
        "3.75 nats."
    )
    wide = answer(document(members=effect(300, 0.5)))
    assert "members move the output, too (0.5 nats)" in wide
    assert wide.endswith("The model tells more apart here than this ε does.")
    assert answer(document(verdict="not used", random=effect(9, 0.001))).startswith("Not used: activations of random")
    unknown = answer(document(verdict=None, why_not="there are only 3 members"))
    assert unknown == "Not known, because there are only 3 members."


def test_groups_show_their_numbers_and_what_there_is_none_of():
    rows = group_rows(document(members=effect(0, None, same=None)))
    assert rows[0] == ("members", "0", "–", "–", "–", "–")
    assert rows[1] == ("nearest non-members", "300", "0.031", "0.021 to 0.041", "0.031", "97.0%")
    assert rows[2][1:3] == ("500", "3.75")


@pytest.mark.parametrize(
    ("kl", "words"),
    [(1e-8, "0"), (1.65e-06, "<0.001"), (-0.0003, "0"), (0.00123, "0.0012"), (-0.5, "−0.5"), (3.754, "3.75")],
)
def test_differences_too_small_to_matter_have_no_digits(kl, words):
    assert group_rows(document(random=effect(9, kl)))[2][2] == words


def test_used_features_come_first_then_what_saves_most():
    rows = feature_rows(document())
    assert [row.cells[0] for row in rows] == ["C1", "F1", "S1", "F3"]
    assert [row.saved for row in rows] == pytest.approx([0.75, 0.25, 0, 0.225])
    assert rows[0].cells == ("C1", "6", "50%", "1.25*", "4", "3", "2 to 4", "used")
    assert rows[2].cells[5:7] == ("−0.5", "−1.5 to 0.5")
    assert rows[3].cells[2] == "0%"


def test_the_terminal_shows_all_of_it():
    lines = drawn()
    text = "\n".join(lines)
    assert lines[0] == "addition, 615+861=1476: is x0.post at = used?"
    assert "members: exactly 1,838" in text
    assert "outputs: = A1" in text
    assert any(
        line.split() == ["random", "non-members", "500", "3.75", "3.25", "to", "4.25", "3.75", "56.3%"]
        for line in lines
    )
    assert "A4, A5: no verdict, because only 3 of 20,000 non-members share it" in lines
    assert "* by members" in text
    assert "held equal:" not in text
    other = "\n".join(drawn(given=["A1"], exact=False, weighted=False, features=[]))
    for words in ("held equal: A1", "1,838 found", "Members count alike"):
        assert words in other
    assert "verdict" not in other
    assert "* by members" not in other


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_console(width):
    assert max(map(cell_len, drawn(width))) <= width


def test_at_80_columns_no_name_of_a_column_is_broken():
    lines = drawn(
        80, features=[feature("C1", "used", 3.0), feature("a long name", "used", 2.0, value="an even longer value")]
    )
    words = {word for line in lines for word in line.split()}
    for column in (*GROUP_COLUMNS, *FEATURE_COLUMNS):
        assert words >= set(column.split())
    assert "2 to 4" in "\n".join(lines)


def test_at_80_columns_no_name_of_a_feature_and_no_interval_is_broken():
    names = ["position", "held out", "ending"]
    told = [feature(name, "not encoded", -0.001234, interval=(-0.009244, 0.006784)) for name in names]
    lines = drawn(80, features=told)
    for name in names:
        [line] = [line for line in lines if line.startswith(f"{name} ")]
        assert "−0.0012 −0.0092 to 0.0068 not" in line


def test_the_page_shows_the_same():
    page = Page(render_page([pack_causal(document())], title="615+861=1476 at ="))
    groups, features = page.tables
    assert [cell["text"] for cell in groups[3]["cells"]] == list(group_rows(document())[2])
    for drawn_row, row in zip(features[1:], feature_rows(document()), strict=True):
        assert tuple(cell["text"] for cell in drawn_row["cells"]) == row.cells
        assert drawn_row["class"] == row.verdict.replace(" ", "-")
    assert "A4, A5: no verdict" in page.text
    assert answer(document()) in page.text
    fragment = render_fragment(pack_causal(document()))
    assert not any(tag in ("script", "html") for tag, _ in Page(fragment).elements)
    assert len(Page(render_page([pack_causal(document(features=[]))], title="")).tables) == 1


def test_hostile_names_reach_no_terminal_and_no_page():
    hostile = "[red]\x1b[2J<b>"
    changes = {
        "features": [feature(hostile, "used", 1.0), feature("F1", None, None, why_not=hostile)],
        "given": [hostile],
    }
    text = "\n".join(drawn(200, study=hostile, outputs=[hostile], **changes))
    assert "\x1b" not in text
    assert text.count("[red]") >= 4
    page = Page(render_page([pack_causal(document(study=hostile, **changes))], title=hostile))
    assert not any(tag == "b" for tag, _ in page.elements)
    assert page.text.count("[red]⟨001B⟩[2J<b>") >= 4
