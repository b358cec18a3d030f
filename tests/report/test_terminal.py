from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from inversionview.report.answer import answer_of
from inversionview.report.reading import printable
from inversionview.report.terminal import render_evaluation_terminal, render_table, render_terminal
from inversionview.results import convert
from inversionview.results.colors import TokenColors
from inversionview.results.evaluation import Evaluation
from tests.report.examples import addition, as_reading, exact, text, told


def console(width: int = 100, **options: object) -> Console:
    return Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]


def drawn(reading: dict[str, Any], width: int = 100, **options: Any) -> list[str]:
    target = console(width)
    render_terminal(as_reading(reading), target, **options)
    return target.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_answer_comes_first_then_members_misses_and_trust() -> None:
    reading = told()
    lines = drawn(reading, 80)
    assert lines[0].startswith('a0.0 at "=" of 615+861=1476')
    assert lines[0].endswith("head 0 of layer 0, addition")
    answer = answer_of(as_reading(reading))
    assert answer.sentence in " ".join(lines[1:6])
    starts = ["KNOWS", "PARTLY", "A LITTLE", "NOT", "MEMBERS", "ROWS", "MISSES", "TRUST"]
    found = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert found == sorted(found)
    assert found[0] < 6
    assert len(lines) <= 25


def test_estimates_sources_and_densities_are_details() -> None:
    short, whole = "\n".join(drawn(told(), 100)), "\n".join(drawn(told(), 100, details=True))
    for words in ("log q", "effective sample size", "recall", "decoder t=1", "Pareto", "‖z − z_q‖", "seed"):
        assert words in whole
        assert words not in short
    assert whole.startswith(short.rpartition("\nROWS")[0])


def test_rows_are_typical_nearest_or_misses() -> None:
    reading = told()
    members = [i for i, sample in enumerate(reading["samples"]) if sample["inside"]]
    reading["typical"] = members[::-1]
    inputs = ["".join(sample["tokens"][1:-1]) for sample in reading["samples"]]
    misses = [i for i, sample in enumerate(reading["samples"]) if sample["in_domain"] and not sample["inside"]]
    for rows, order in (("typical", members[::-1]), ("nearest", members), ("misses", misses)):
        lines = drawn(reading, 80, rows=rows, limit=4)
        spelled = [line.replace("[", "").replace("]", "") for line in lines if "[=]" in line and "query" not in line]
        assert [line.split()[1] for line in spelled] == [inputs[i] for i in order[:4]]
        assert sum(line.startswith("MISSES") for line in lines) == (rows != "misses")


def test_columns_align_and_the_position_read_is_bracketed() -> None:
    lines = drawn(addition(), limit=12)
    rows = [line for line in lines if "[=]" in line]
    assert [line.split()[0] for line in rows[:2]] == ["query", "0.004"]
    assert len(rows) == 13
    assert {line.index("[=]") for line in rows} == {rows[0].index("[=]")}
    header = next(line for line in lines if line.startswith("ROWS"))
    assert {line.rindex("6+8") for line in rows} == {header.index("F1+S1")}


def test_wide_and_hidden_tokens_keep_their_columns() -> None:
    reading = addition(draws=60)
    reading["samples"][0]["tokens"][2:5] = ["世", "\n", "🙂"]
    rows = [line for line in drawn(reading) if "[=]" in line]
    assert len({cell_len(line[: line.rindex("6+8")]) for line in rows}) == 1
    assert any("世" in line and "↵" in line for line in rows)


def test_patterns_stand_above_the_rows_with_their_shares() -> None:
    reading = told()
    lines = drawn(reading, 80)
    at = next(i for i, line in enumerate(lines) if line.startswith("MEMBERS"))
    assert lines[at + 1].split() == ["93", "±", "4%", "6··+8··", "616+825=1441", "655+804=1459"]
    assert lines[at + 2].split() == ["7%", "8··+6··", "862+665=1527"]
    reading["patterns"]["found"] *= 4
    lines = drawn(reading, 80)
    assert lines[at + 6].split() == ["107%", "3", "more", "patterns"]
    assert len(lines) <= 25


@pytest.mark.parametrize("reading", [told(), addition(), exact(), text()])
def test_a_reading_takes_25_lines_at_80_columns_whatever_it_says(reading: dict[str, Any]) -> None:
    bits = [{"name": f"N{i}", "bits": i / 10, "of": 1.0, "divergence": 1.0, "interval": None, "value": "v" * 9,
             "left": [["v" * 9, 0.5], ["w" * 9, 0.5]]} for i in range(-2, 11)]  # fmt: skip
    for changes in ({}, {"bits": bits}):
        assert len(drawn(reading | changes, 80)) <= 25


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("reading", [addition(), text()])
def test_no_line_is_wider_than_the_console(reading: dict[str, Any], width: int) -> None:
    assert max(cell_len(line) for line in drawn(reading, width)) <= width


def test_a_narrow_console_keeps_the_tokens_and_gives_up_the_rest() -> None:
    wide, narrow = "\n".join(drawn(addition(), 120)), "\n".join(drawn(addition(), 34))
    assert "  F1+S1" in wide
    assert "F1+S1" not in narrow
    assert "618+800[=]1418" in narrow


@pytest.mark.parametrize("width", [60, 80])
def test_every_token_of_a_long_input_is_whole_and_the_position_is_in_sight(width: int) -> None:
    reading = text()
    tokens = {token.strip(" ") for sample in reading["samples"] for token in sample["tokens"]}
    rows = [line for line in drawn(reading, width, limit=30) if line.startswith("  0.")]
    for line in rows:
        assert re.search(r"\[[^ ]+\]", line)
        words = line[9:].replace("[", "").replace("]", "").replace("…", " ").split()
        assert words
        for word in words:
            assert made_of(word, tokens)


def made_of(word: str, tokens: set[str]) -> bool:
    """Whether a word is whole tokens put one after the other."""
    shown = {printable(token) for token in tokens if token}
    starts = {0}
    for end in range(1, len(word) + 1):
        if any(end - len(token) in starts and word[:end].endswith(token) for token in shown):
            starts.add(end)
    return len(word) in starts


def test_plain_where_there_is_no_terminal_and_coloured_where_there_is() -> None:
    plain = "\n".join(drawn(addition(), details=True))
    assert "\x1b" not in plain
    assert "lowered" not in plain  # no legend for colours that are not there
    target = console(force_terminal=True, color_system="truecolor")
    render_terminal(as_reading(addition()), target, details=True)
    colored = target.file.getvalue()  # type: ignore[attr-defined]
    assert "48;2;" in colored
    assert "lowered" in colored


def test_no_color_leaves_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    target = console(force_terminal=True, color_system="truecolor")
    render_terminal(as_reading(addition()), target, details=True)
    colored = target.file.getvalue()  # type: ignore[attr-defined]
    assert "38;" not in colored
    assert "48;" not in colored
    assert "lowered" not in colored


def test_only_rows_that_are_printed_in_colour_ask_for_their_colours() -> None:
    plain, asked = as_reading(told()), []

    def make(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return np.ones((len(rows), 40))

    colors = TokenColors((len(plain.samples), 40), make)
    samples = [dataclasses.replace(one, colors=colors.of(i, len(one.tokens))) for i, one in enumerate(plain.samples)]
    reading = dataclasses.replace(plain, samples=samples)
    render_terminal(reading, console(80), limit=5, details=True)
    assert asked == []
    render_terminal(reading, console(80, force_terminal=True, color_system="truecolor"), limit=5)
    assert asked == [5]


def test_hostile_text_reaches_no_terminal() -> None:
    reading = addition(draws=60)
    reading["samples"][0]["tokens"][2] = reading["query"]["tokens"][2] = "\x1b[2J"
    reading["study"] = reading["site"] = reading["query"]["at"] = "[red]\x1b]0;x\x07"
    reading["sources"][0]["name"] = reading["features"][0]["name"] = "\x1b[31m[bold]"
    joined = "\n".join(drawn(reading, 160, details=True))
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
    assert "was not measured" in lines[1]
    assert any(line.startswith("MEMBERS  none found inside ε = 0.1") for line in lines)
    assert not [line for line in lines if line.startswith("ROWS")]
    assert [line for line in lines if line.startswith("MISSES")]


@pytest.mark.parametrize("reading", [addition(draws=60), text(length=80, samples=4)])
def test_empty_and_unmarked_samples_are_drawn(reading: dict[str, Any]) -> None:
    reading["samples"][0] |= {"position": -1, "distance": None, "log_prob": None, "colors": None}
    assert any("–" in line for line in drawn(reading, limit=1000))
    reading["samples"] = []
    assert drawn(reading)[0].startswith(reading["site"])


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
