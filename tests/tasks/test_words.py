"""Words: found where they stand whole, in any of a text's tokenizations, and written so that each can be asked for."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inversionview.errors import UserError
from inversionview.tasks.vocabulary import Characters, Vocabulary
from inversionview.tasks.words import ends, forms, occurrence
from tests.tokenizers import byte_tokenizer, story_tokenizer


@pytest.mark.parametrize(
    ("text", "word", "at"),
    [
        ("the cat sat", "he", []), ("the cat sat", "at", []), ("the cat sat", "the", [3]), ("a cat sat", "cat s", []),
        ("a cat, a cat.", "cat", [5, 12]), ("Alice's dog", "Alice", [5]), ("dogs and a dog", "dog", [14]),
        ("C# and C#", "C#", [2, 9]), ("C and C#", "C", [1, 7]), ("see #2 (#22)", "#2", [6]),
        ("a cat sat", "cat sat", [9]),
        ("snake_case", "case", []), ("x2 2x 2", "2", [7]), ("xna na na na", "na na", [9]),
        ("猫が寝ている。猫が", "猫", [1, 8]), ("le café noir", "cafe", []), ("le cafe\u0301 noir", "cafe", []),
        ("le cafe\u0301 noir", "café", [8]), ("le café noir", "cafe\u0301", [7]), ("नमस्ते", "नमस", []),
        ("", "a", []), ("a", "", []),
    ],
)  # fmt: skip
def test_a_word_is_found_where_it_stands_whole(text, word, at):
    assert ends(text, word) == at


@given(st.lists(st.text("abcé'", min_size=1, max_size=3).filter(lambda word: "'" not in word), min_size=1, max_size=8))
def test_in_a_text_of_words_each_is_found_as_often_as_it_is_there(words):
    text = " ".join(words)
    for word in words:
        for form in forms(word):
            assert len(ends(text, form)) == words.count(word)
            assert len(ends(unicodedata.normalize("NFD", text), form)) == words.count(word)


@pytest.mark.parametrize(
    ("name", "word", "number"),
    [
        ("dog", "dog", 1), ("dog#1", "dog", 1), ("dog#2", "dog", 2), ("dog#12", "dog", 12), ("C#", "C#", 1),
        ("C##2", "C#", 2), ("#2", "#2", 1), ("#2#1", "#2", 1), ("dog#2#1", "dog#2", 1), ("dog#-1", "dog#-1", 1),
        ("dog#two", "dog#two", 1), ("#", "#", 1), ("first#1", "first", 1), ("12#1", "12", 1), ("dog#²", "dog#²", 1),
    ],
)  # fmt: skip
def test_every_word_and_every_occurrence_can_be_written(name, word, number):
    assert occurrence(name) == (word, number)


@given(st.text(min_size=1), st.integers(1, 10**6))
def test_any_text_can_be_asked_for_by_its_number(word, number):
    assert occurrence(f"{word}#{number}") == (word, number)


def test_there_is_no_occurrence_0():
    with pytest.raises(UserError, match=r"count from 1: write zebra#1 for the first 'zebra', or zebra#0#1 for"):
        occurrence("zebra#0")


@pytest.mark.parametrize("tokenizer", [byte_tokenizer, story_tokenizer])
def test_the_position_is_that_of_the_token_with_which_the_word_is_complete(tokenizer):
    vocabulary = Vocabulary(tokenizer())
    text = "The 猫 zebra saw a café, a zebras' friend and the zebra."
    row = vocabulary.row(vocabulary.ids(text), 90)
    inner = vocabulary.inner(row)
    for word, number, end in (("zebra", 1, 11), ("zebra", 2, 54), ("猫", 1, 5), ("café", 1, 22), ("The", 1, 3)):
        shortest = next(n for n in range(1, len(inner) + 1) if vocabulary.text(inner[:n])[:end] == text[:end])
        assert vocabulary.find(row, word, number) == shortest
    assert [vocabulary.find(row, *missing) for missing in (("zebra", 3), ("ebra", 1), ("lion", 1), ("", 1))] == [-1] * 4


def test_where_each_character_is_a_token_any_string_is_found():
    symbols = Characters("abc=<>", begin="<", end=">")
    row = symbols.row(symbols.ids("abcb=b"))
    assert [symbols.find(row, word) for word in ("b", "cb", "=", "")] == [2, 4, 5, -1]
    assert symbols.find(row, "b", 2) == 4
    assert symbols.find(torch.tensor([4, 5]), "b") == -1


def test_a_text_that_cannot_be_written_in_utf_8_is_one_line():
    vocabulary = Vocabulary(byte_tokenizer())
    for text in ("ab\ud800", "ab\udcff"):
        for cut in (vocabulary.ids, lambda text: vocabulary.all_ids(["good", text]), vocabulary.known_ids):
            with pytest.raises(
                UserError, match=r"^character 3 of 'ab.* is half a character or a broken byte: "
            ) as caught:
                cut(text)
            str(caught.value).encode()
