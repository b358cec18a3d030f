from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from inversionview.report.terminal import render_evaluation_terminal, render_table, render_terminal
from inversionview.results import convert
from inversionview.results.evaluation import Evaluation
from tests.report.examples import addition, as_reading, text


def console(width: int = 100, **options: object) -> Console:
    return Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]


def drawn(reading: dict[str, Any], width: int = 100, **options: int) -> list[str]:
    target = console(width)
    render_terminal(as_reading(reading), target, **options)
    return target.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_members_then_the_line_then_near_misses() -> None:
    reading = addition()
    lines = drawn(reading, limit=5, near=3)
    first = next(i for i, line in enumerate(lines) if line.startswith("members")) + 1
    members = ["".join(sample["tokens"]) for sample in reading["samples"] if sample["inside"]]
    near = ["".join(sample["tokens"]) for sample in reading["samples"] if sample["in_domain"] and not sample["inside"]]
    spelled = ["".join(c for c in line[24:57] if c not in " []") for line in lines[first : first + 9]]
    assert [s.split("E")[0] + "E" for s in spelled[:5]] == members[:5]
    assert lines[first + 5].startswith("── ε = 0.1 ───")
    assert [s.split("E")[0] + "E" for s in spelled[6:]] == near[:3]
    assert lines[first + 9] == ""
    counts = reading["counts"]
    assert lines[first + 10] == (
        f"Not shown: {counts['inside'] - 5} more inside ε, "
        f"{counts['in_domain'] - counts['inside'] - 3} more outside ε, "
        f"{counts['distinct'] - counts['in_domain']} not in the domain."
    )


def test_columns_align_and_the_position_read_is_bracketed() -> None:
    lines = drawn(addition())
    rows = [line for line in lines if line.startswith(("query", "   0."))]
    assert len(rows) == 17
    assert {line.index("[=]") for line in rows} == {rows[0].index("[=]")}
    header = next(line for line in lines if line.startswith("distance"))
    assert header.index("▾") == rows[0].index("=")
    ticks = {line.index("│") if "│" in line else line.index("┼") for line in rows[1:]}
    assert ticks == {header.index("ε")}


def test_wide_and_hidden_tokens_keep_their_columns() -> None:
    reading = addition(draws=60)
    reading["samples"][0]["tokens"][2:5] = ["世", "\n", "🙂"]
    rows = [line for line in drawn(reading) if "[=]" in line]
    assert len({cell_len(line[: line.index("[=]")]) for line in rows}) == 1
    assert any("世" in line and "↵" in line for line in rows)


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("reading", [addition(), text()])
def test_no_line_is_wider_than_the_console(reading: dict[str, Any], width: int) -> None:
    assert max(cell_len(line) for line in drawn(reading, width)) <= width


def test_a_narrow_console_keeps_the_tokens_and_gives_up_the_rest() -> None:
    wide, narrow = "\n".join(drawn(addition(), 120)), "\n".join(drawn(addition(), 42))
    assert "log q" in wide
    assert "━" in wide
    assert "log q" not in narrow
    assert "━" not in narrow
    assert "6 1 5 + 8 6 1[=]1 4 7 6 E" in narrow


def test_long_inputs_are_shown_around_the_position() -> None:
    reading = text()
    lines = [line for line in drawn(reading) if line.startswith(("query", "   0."))]
    places = {cell_len(line[: line.index("[")]) for line in lines}
    assert len(places) == 1
    assert all("…" in line for line in lines)


def test_plain_where_there_is_no_terminal_and_coloured_where_there_is() -> None:
    plain = "\n".join(drawn(addition()))
    assert "\x1b" not in plain
    assert "lowered" not in plain  # no legend for colours that are not there
    target = console(force_terminal=True, color_system="truecolor")
    render_terminal(as_reading(addition()), target)
    colored = target.file.getvalue()  # type: ignore[attr-defined]
    assert "48;2;" in colored
    assert "lowered" in colored


def test_no_color_leaves_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    target = console(force_terminal=True, color_system="truecolor")
    render_terminal(as_reading(addition()), target)
    colored = target.file.getvalue()  # type: ignore[attr-defined]
    assert "38;" not in colored
    assert "48;" not in colored
    assert "lowered" not in colored


def test_hostile_text_reaches_no_terminal() -> None:
    reading = addition(draws=60)
    reading["samples"][0]["tokens"][2] = reading["query"]["tokens"][2] = "\x1b[2J"
    reading["study"] = reading["site"] = reading["query"]["at"] = "[red]\x1b]0;x\x07"
    reading["sources"][0]["name"] = reading["features"][0]["name"] = "\x1b[31m[bold]"
    joined = "\n".join(drawn(reading, 160))
    assert "\x1b" not in joined
    assert "\x07" not in joined
    assert "[red]" in joined  # rich's markup is text, too
    assert "[bold]" in joined


def test_nothing_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    drawn(addition())
    assert capsys.readouterr() == ("", "")


def test_the_same_reading_gives_the_same_lines() -> None:
    assert drawn(addition()) == drawn(addition())


def test_no_members_is_said() -> None:
    reading = addition(draws=60)
    for sample in reading["samples"]:
        sample["inside"] = False
    reading["counts"]["inside"] = 0
    lines = drawn(reading)
    assert "0 inputs found inside" in lines[0]
    assert not [line for line in lines if line.startswith("members")]
    query = next(i for i, line in enumerate(lines) if line.startswith("query"))
    assert lines[query + 1].startswith("── ε = 0.1 ──")


@pytest.mark.parametrize("reading", [addition(draws=60), text(length=80, samples=4)])
def test_empty_and_unmarked_samples_are_drawn(reading: dict[str, Any]) -> None:
    reading["samples"][0] |= {"position": -1, "distance": None, "log_prob": None, "colors": None}
    assert any("–" in line for line in drawn(reading, limit=1000))
    reading["samples"] = []
    assert any(line.startswith("query") for line in drawn(reading))


def test_evaluation_shows_rates_floors_and_the_mean_last() -> None:
    rates = {"any": {"rate": 0.912, "se": 0.006, "floor": 0.274}, "same": {"rate": 0.5, "se": 0.011, "floor": 0.02}}
    evaluation = {
        "study": "addition", "epsilon": 0.1, "sites": {"a0.0": rates, "x1.post": rates}, "mean": rates,
        "in_domain": 0.9731, "accuracy": 0.98035, "metric": "euclidean", "n": 2000, "seed": 0, "completeness": None,
    }  # fmt: skip
    measured = convert.parsed(Evaluation, evaluation, "evaluation")
    target = console(110)
    render_evaluation_terminal(measured, target)
    lines = target.file.getvalue().splitlines()  # type: ignore[attr-defined]
    table = [line.split() for line in lines if line.startswith(("a0.0", "x1.post", "mean"))]
    assert [row[0] for row in table] == ["a0.0", "x1.post", "mean"]
    assert table[0][1:5] == ["0.912", "±", "0.006", "0.274"]
    assert "0.020" in table[0]
    assert any("97.31%" in line for line in lines)
    assert any(line.endswith("98.03%") or line.endswith("98.04%") for line in lines)
    narrow = console(60)
    render_evaluation_terminal(measured, narrow)
    assert max(map(cell_len, narrow.file.getvalue().splitlines())) <= 60  # type: ignore[attr-defined]


def test_tables_set_numbers_to_the_right() -> None:
    target = console(60)
    render_table([{"name": "addition", "sites": 13}, {"name": "[red]", "sites": 9}], target)
    assert [line.rstrip() for line in target.file.getvalue().splitlines()] == [  # type: ignore[attr-defined]
        "name      sites", "addition     13", "[red]         9",
    ]  # fmt: skip
    render_table([], target)
