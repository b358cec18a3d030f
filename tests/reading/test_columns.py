"""Features beside the members of a preimage, in everything that shows them."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.reading.columns import with_features
from inversionview.report.terminal import render_terminal
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import Fixed, few_sums, probed, query, rows, task

NAMES = ("F1+S1", "A4", "C1")
SUMS = ("B615+861=1476E", "B100+100=200E", "B999+101=1100E", "B615+861=1477E", "B5E")


def sampled() -> Preimage:
    [found] = sampled_preimages(probed(), task(), [query()], [Fixed(rows(*SUMS))], criterion=Criterion.parse(0.5))
    return with_features(found, task(), NAMES)


def of_text(text: str) -> dict[str, str] | None:
    """What a sum's columns are, by arithmetic; None where it is none."""
    numbers, _, answer = text.partition("=")
    a, _, b = numbers.partition("+")
    if not (a and b) or str(int(a) + int(b)) != answer:
        return None
    carry = int(a[1:]) + int(b[1:]) >= 100
    return {
        "F1+S1": str(int(a[0]) + int(b[0])),
        "A4": answer[3] if len(answer) == 4 else "none",
        "C1": "yes" if int(a[0]) + int(b[0]) + carry >= 10 else "no",
    }


def test_every_candidate_of_the_domain_has_its_own_values():
    found = sampled()
    assert [column.name for column in found.columns] == list(NAMES)
    for row, text in enumerate(found.inputs):
        wanted = of_text(text) or dict.fromkeys(NAMES)
        assert {column.name: column.text(row) for column in found.columns} == wanted, text
    assert [column.query for column in found.columns] == list(of_text("615+861=1476").values())
    assert sum(of_text(text) is None for text in found.inputs) == 2


def test_columns_are_in_the_document_of_every_sample():
    document = sampled().to_dict()
    for sample in document["samples"]:
        assert sample["features"] == (of_text(sample["input"]) or dict.fromkeys(NAMES))
    assert all("features" not in sample for sample in dataclasses.replace(sampled(), columns=()).to_dict()["samples"])


def test_columns_follow_the_rows_that_are_kept():
    [exact] = exact_preimages(
        probed(), few_sums(), [query("500+990=1490", site="x0.post")], criterion=Criterion.parse(0.4)
    )
    whole = with_features(exact, few_sums(), NAMES)
    for fewer in (whole.head(5), whole.at_epsilon(0.2)):
        assert 0 < len(fewer) < len(whole)
        for column in fewer.columns:
            assert [column.text(i) for i in range(len(fewer))] == [of_text(t)[column.name] for t in fewer.inputs]
    assert [len(f.values) for f in whole.to_reading(7).features] == [7, 7, 7]


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_columns_are_kept_in_files(tmp_path, suffix):
    found = dataclasses.replace(sampled(), given="with two numbers")
    found.save(tmp_path / f"p{suffix}")
    again = Preimage.load(tmp_path / f"p{suffix}")
    assert again.to_dict() == found.to_dict()
    assert again.to_reading() == found.to_reading()
    assert again.given == "with two numbers"
    for mine, saved in zip(found.columns, again.columns, strict=True):
        assert (saved.name, saved.values, saved.query) == (mine.name, mine.values, mine.query)
        np.testing.assert_array_equal(saved.codes, mine.codes)


def test_columns_are_drawn_in_the_terminal_and_on_the_page():
    found = sampled()
    stream = io.StringIO()
    render_terminal(found.to_reading(), Console(file=stream, width=160), rows="misses", limit=10)
    lines = stream.getvalue().splitlines()
    [head] = [line for line in lines if line.startswith("ROWS")]
    [asked] = [line for line in lines if line.startswith("  query")]
    start = head.index("F1+S1")
    assert asked[start:].split()[:3] == ["14", "6", "yes"]
    [short] = [line for line in lines if "100+100[=]200" in line]
    assert short[start:].split()[:3] == ["2", "none", "no"]
    page = found.to_html()
    assert "<th>F1+S1</th>" in page
    assert '<td class="n">14</td><td class="n">6</td><td>yes</td><td>query</td>' in page


def test_columns_are_in_the_data_frame_and_do_not_hide_others():
    pytest.importorskip("pandas")
    frame = sampled().to_pandas()
    assert list(frame.columns[-3:]) == list(NAMES)
    drawn = frame["A4"].astype(object).where(frame["A4"].notna(), None)
    assert drawn.tolist() == [(of_text(t) or {"A4": None})["A4"] for t in frame["input"]]
    found = sampled()
    renamed = dataclasses.replace(found, columns=(found.columns[0]._replace(name="position"),))
    assert list(renamed.to_pandas().columns).count("position") == 1
    assert "feature position" in renamed.to_pandas()


def test_an_unknown_feature_is_an_error_that_names_those_there_are():
    with pytest.raises(UserError, match="addition has no feature 'F9'; its features are: F1, F2"):
        with_features(sampled(), task(), ("F1", "F9"))
    assert [c.name for c in with_features(sampled(), task(), ("A1", "A1", "F1")).columns] == ["A1", "F1"]
    assert with_features(sampled(), task(), ()).columns == ()
