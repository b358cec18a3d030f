"""Windows of texts: each is tokenised again as it is, and few are lost for it."""

from __future__ import annotations

from itertools import product

import pytest

from inversionview.tasks.pieces import BROKEN
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.text.windows import cut_windows
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer
from tests.tokenizers import PAGE, byte_tokenizer, story_tokenizer

ENGLISH = PAGE.splitlines()
JAPANESE = [
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた事だけは記憶している。"
]
TOKENIZERS = pytest.mark.parametrize("tokenizer", [byte_tokenizer, story_tokenizer])


def fixed(vocabulary: Vocabulary, texts: list[str], most: int) -> list[list[int]]:
    """Windows that all begin at multiples of `most`, each tokenised again by itself."""
    return [
        ids[at : at + most]
        for ids in map(vocabulary.ids, texts)
        for at in range(0, len(ids), most)
        if len(ids) > at + 1
    ]


def is_again(vocabulary: Vocabulary, ids: list[int]) -> bool:
    return vocabulary.ids(vocabulary.text(ids)) == ids


@TOKENIZERS
@pytest.mark.parametrize("length", [5, 8, 20])
@pytest.mark.parametrize("texts", [ENGLISH, JAPANESE], ids=["English", "Japanese"])
def test_every_window_is_tokenised_again_as_it_is_and_few_are_lost(tokenizer, length, texts):
    vocabulary = Vocabulary(tokenizer())
    windows = cut_windows(vocabulary, texts, length)
    inner = [vocabulary.inner(row) for row in windows.tokens]
    assert all(is_again(vocabulary, ids) for ids in inner)
    assert vocabulary.well_formed(windows.tokens).all()
    assert len({tuple(ids) for ids in inner}) == len(inner)
    assert all(2 <= len(ids) <= length - 1 for ids in inner)
    before = fixed(vocabulary, texts, length - 1)
    as_before = {tuple(ids) for ids in before if is_again(vocabulary, ids)}
    assert as_before <= set(map(tuple, inner)), "what could be kept as it was is kept as it was"
    assert windows.cut == len(before)
    assert windows.dropped <= len(before) - sum(is_again(vocabulary, ids) for ids in before)
    if length == 20:
        assert windows.dropped == 0
    joined = " ".join(texts)
    assert all(vocabulary.text(ids).strip(" ") in joined for ids in inner), "nothing is said that was not there"


@pytest.mark.parametrize(("texts", "share"), [(ENGLISH, 0.1), (JAPANESE, 0.6)], ids=["English", "Japanese"])
def test_many_would_be_lost_if_each_cut_stayed_where_it_is(texts, share):
    vocabulary = Vocabulary(story_tokenizer())
    before = fixed(vocabulary, texts, 19)
    assert sum(not is_again(vocabulary, ids) for ids in before) > share * len(before)


def test_how_many_are_lost_is_said_and_kept(tmp_path):
    vocabulary = Vocabulary(unknowing())
    texts = [" ".join(words) for words in product(("the", "cat", "dog", "ran"), repeat=4)] + ["zebra zebra zebra"] * 5
    task = TextTask.from_texts(vocabulary, texts, 5)
    assert task.dropped == (5, len(texts))
    assert f"5 of {len(texts)} windows of the texts were dropped (1.9%)" in task.note
    task.save(tmp_path)
    assert TextTask.load(tmp_path).note == task.note
    whole = TextTask.from_texts(vocabulary, texts[:-5], 5)
    assert "dropped" not in whole.note


def unknowing():
    """A tokenizer of a few words."""
    return word_tokenizer(["the cat dog ran", "cat the dog"])


@TOKENIZERS
def test_many_rows_at_once_are_what_each_is_by_itself(tokenizer):
    vocabulary = Vocabulary(tokenizer())
    rows = [*fixed(vocabulary, [*ENGLISH, *JAPANESE], 7), []]
    assert vocabulary.texts(rows) == [vocabulary.text(ids) for ids in rows]
    assert vocabulary.again(rows) == [vocabulary.ids(vocabulary.text(ids)) for ids in rows]
    alone = [vocabulary.text([token]) for token in range(vocabulary.size)]
    assert [name for name, text in zip(vocabulary.names, alone, strict=True) if name != text] == [
        name for name, text in zip(vocabulary.names, alone, strict=True) if BROKEN in text
    ]
    assert not any(BROKEN in name for name in vocabulary.names)
