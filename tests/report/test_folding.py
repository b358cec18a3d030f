"""Texts cut at tokens: what is shown is whole, and what is asked about stays."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from inversionview.report.folding import excerpt, folded, places, words_of
from inversionview.report.reading import printable

TOKENS = st.lists(
    st.sampled_from([" the", " Paul", "ul", "iel", ",", ".", " 🙂", "世", "\n", " in", "'s", "", "7", "<b>", "ç"]),
    min_size=1, max_size=40,
)  # fmt: skip


@given(TOKENS)
def test_words_are_all_of_the_text_in_order(tokens: list[str]) -> None:
    assert [i for word in words_of(tokens) for i in word] == list(range(len(tokens)))


def test_a_word_is_never_parted() -> None:
    tokens = ["Dan", "iel", " saw", " Al", "ice", "'s", " 861", "+", "2", "5", ","]
    words = ["".join(tokens[i] for i in word) for word in words_of(tokens)]
    assert words == ["Daniel", " saw", " Alice's", " 861", "+", "25", ","]


def test_a_script_without_spaces_is_cut_between_tokens() -> None:
    assert len(words_of(["世"] * 30)) == 30


@given(TOKENS, st.integers(1, 90), st.data())
def test_every_word_shown_is_whole_and_the_position_is_among_them(
    tokens: list[str], room: int, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(tokens) - 1))
    keep = data.draw(st.sets(st.integers(0, len(tokens) - 1), max_size=4))
    shared = data.draw(st.sets(st.integers(0, len(tokens) - 1)))
    kept = folded(tokens, position, room, keep=keep, shared=shared)
    shown = [i for i in kept if i is not None]
    assert position in shown
    assert shown == sorted(set(shown))
    for word in words_of(tokens):
        assert all(i in shown for i in word) or not any(i in shown for i in word)
    assert all(not (a is None and b is None) for a, b in pairwise(kept))
    width = sum(1 if i is None else cell_len(printable(tokens[i])) for i in kept)
    here = next(word for word in words_of(tokens) if position in word)
    assert width <= max(room, sum(cell_len(printable(tokens[i])) for i in here) + 2)


@given(TOKENS, st.data())
def test_with_room_enough_only_what_all_share_is_left_out(tokens: list[str], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(tokens) - 1))
    shared = data.draw(st.sets(st.integers(0, len(tokens) - 1)))
    left_out = set(range(len(tokens))) - set(folded(tokens, position, 10_000, shared=shared))
    assert left_out <= shared
    assert folded(tokens, position, 10_000) == list(range(len(tokens)))


def words_alone(text: str) -> list[str]:
    return re.findall(r" ?\w+|,", text)


def test_what_is_to_be_kept_outlives_the_rest() -> None:
    tokens = words_alone("When Alice and Paul went to the shop that day, Paul gave a drink to")
    kept = folded(tokens, len(tokens) - 1, 30, keep=places(tokens, ["Alice", "Paul"]))
    words = "".join("…" if i is None else tokens[i] for i in kept)
    assert words == "… Alice… Paul… Paul… drink to"


@pytest.mark.parametrize(
    ("value", "found"), [("Ann", {0}), ("New York", {2, 3}), ("York", {3}), ("ne", set()), ("", set())]
)
def test_values_are_found_as_whole_words(value: str, found: set[int]) -> None:
    assert places(["Ann", "e's", " New", " York", "."], [value]) == (set() if value == "Ann" else found)
    assert places(["Ann", " saw", " New", " York", "."], [value]) == found


def test_an_excerpt_is_around_the_position() -> None:
    tokens = [f" word{i}" for i in range(50)]
    assert excerpt(tokens, 25, 30).startswith("… word2")
    assert " word25" in excerpt(tokens, 25, 30)
    assert excerpt(["6", "1", "5", "+", "8"], 3, 80) == "615+8"
