"""Readings of text in a terminal: every word that is shown is whole, and what was asked about is in sight."""

from __future__ import annotations

import dataclasses
import re

import pytest

import inversionview as iv
from inversionview.report.terminal import render_terminal
from inversionview.results.reading import Counts, Place, Reading, Sample
from tests.report.console import printed
from tests.tokenizers import PAGE, story_tokenizer

WORD = re.compile(r"\w+|[^\w\s]")


def stories(position: int) -> Reading:
    """The lines of a page, as if they had all looked the same at a position."""
    tokenizer = story_tokenizer()
    rows = [tokenizer(line).input_ids for line in PAGE.splitlines()]
    texts = [
        ["<s>", *(token.replace("▁", " ") for token in tokenizer.convert_ids_to_tokens(row)), "</s>"] for row in rows
    ]
    texts = [text for text in texts if len(text) > position + 2]
    samples = [Sample(text, position, 0.01 * i, True, True, 1, None, None, None) for i, text in enumerate(texts)]
    n = len(samples)
    return Reading(
        study="stories", site="a3.6", metric="euclidean", epsilon=1.0, position_rule="same", seed=0, domain_size=None,
        exact=False, query=Place(texts[0], position, str(position)), counts=Counts(n, n, n, n), sources=(),
        samples=samples, colors_about="", typical=range(n),
    )  # fmt: skip


def rows_shown(reading: Reading, width: int) -> dict[str, str]:
    """The rows, by their texts alone."""
    lines = printed(lambda console: render_terminal(reading, console, limit=12), width)
    start = next(i for i, line in enumerate(lines) if line.startswith("ROWS"))
    rows = [line for line in lines[start + 1 :] if re.match(r" {2,5}(query|\d\.\d+)  ", line)]
    return {re.split(r"  +", line.strip())[1]: line for line in rows}


def check(reading: Reading, width: int) -> dict[str, str]:
    rows = rows_shown(reading, width)
    whole = {word for sample in reading.samples for word in WORD.findall("".join(sample.tokens))}
    whole |= set(WORD.findall("".join(reading.query.tokens)))
    assert len(rows) > 3
    for row in rows:
        assert re.search(r"\[[^\]]+\]", row), "the position read"
        assert set(WORD.findall(re.sub(r"[\[\]·]", "", row).replace("…", " "))) <= whole
    return rows


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("position", [2, 9])
def test_stories_are_cut_between_words(position: int, width: int) -> None:
    assert any("…" in row for row in check(stories(position), width))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "site", "feature"), [("ioi-small", "m1", "IO"), ("facts-small", "a3.0", "subject")]
)  # fmt: skip
def test_the_words_of_the_best_known_feature_stay_in_sight(name: str, site: str, feature: str) -> None:
    study = iv.load_study(name)
    start = study.task.start
    assert start is not None
    preimage = study.preimage(study.query(start.input, at="END", site=site), n=300)
    reading = preimage.to_reading()
    [known] = [one for one in reading.bits if one.name == feature]
    for width in (60, 80):
        for line in check(reading, width).values():
            assert known.value in line
    lines = printed(lambda console: render_terminal(reading, console), 80)
    assert len(lines) <= 25
    assert f"= {known.value} ({feature})" in "\n".join(lines[:6])


def test_what_all_members_share_is_folded_at_the_same_place_of_each() -> None:
    tokens = ["<s>", "When", " the", " long", " day", " was", " over", ",", " Ann", " left", ".", "</s>"]
    names = [" Ann", " Bob", " Eve"]
    reading = stories(2)
    samples = [
        dataclasses.replace(reading.samples[0], tokens=[*tokens[:8], name, *tokens[9:]], position=9) for name in names
    ]
    shown = dataclasses.replace(reading, samples=samples, typical=range(3), query=Place(samples[0].tokens, 9, "9"))
    assert list(rows_shown(shown, 80)) == ["… Ann [left].", "… Bob [left].", "… Eve [left]."]
