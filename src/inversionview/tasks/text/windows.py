"""Texts cut into windows that are tokenised again as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from inversionview.progress import advance, stage
from inversionview.shapes import Tokens
from inversionview.tasks.vocabulary import Vocabulary

LEAST_TOKENS = 2
_TEXTS_TOGETHER = 2000
_MOST_LEFT_OUT = 6
_ENDS = [(both - back, back) for both in range(_MOST_LEFT_OUT + 1) for back in range(both + 1)]
"""How many tokens at its front and its back a window is tried without."""


class Windows(NamedTuple):
    """Distinct windows, and how many there were."""

    tokens: Tokens
    cut: int
    """Windows that the texts were cut into, equal ones too."""
    dropped: int
    """Those of them that are not tokenised again as they are, wherever they are cut, or have an unknown token."""


def cut_windows(vocabulary: Vocabulary, texts: Sequence[str], length: int) -> Windows:
    """Consecutive windows of up to `length` - 1 tokens, in rows of `length` + 1 with their begin and end.

    A window that is not tokenised again as it is, since it begins or ends within a word or a character, is made shorter
    at these ends: to whole words, else by the fewest tokens; or its text is taken in the tokens that it has by itself.
    """
    kept: set[tuple[int, ...]] = set()
    cut = dropped = 0
    with stage("cutting texts into windows", len(texts)):
        for start in range(0, len(texts), _TEXTS_TOGETHER):
            some = list(texts[start : start + _TEXTS_TOGETHER])
            windows = [
                ids[at : at + length - 1]
                for ids in vocabulary.all_ids(some)
                for at in range(0, len(ids), length - 1)
                if len(ids) - at >= LEAST_TOKENS
            ]
            canonical = _canonical(vocabulary, windows)
            kept.update(map(tuple, canonical))
            cut, dropped = cut + len(windows), dropped + len(windows) - len(canonical)
            advance(len(some))
    rows = [[vocabulary.begin, *ids, vocabulary.end] for ids in sorted(kept)]
    padded = [row + [vocabulary.pad] * (length + 1 - len(row)) for row in rows]
    tokens = torch.tensor(padded) if padded else torch.empty(0, length + 1, dtype=torch.long)
    return Windows(torch.unique(tokens, dim=0), cut, dropped)


def _canonical(vocabulary: Vocabulary, windows: list[list[int]]) -> list[list[int]]:
    """The windows, or what is left of them; those that can be mended in no way are left out."""
    good, left = _apart(vocabulary, windows, windows)
    words = [_whole_words(vocabulary, ids) for ids in left]
    more, left = _apart(vocabulary, words, left)
    shorter, left = _shortened(vocabulary, left)
    # A tokenizer that puts a space before every text gives what begins within a word other tokens.
    other, _ = _shortened(vocabulary, _said_again(vocabulary, left))
    return good + more + shorter + other


def _shortened(vocabulary: Vocabulary, windows: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """What is left of windows without the fewest tokens at their ends, and those of which nothing is."""
    good, left = [], windows
    for front, back in _ENDS:
        more, left = _apart(vocabulary, [ids[front : len(ids) - back] for ids in left], left)
        good += more
    return good, left


def _said_again(vocabulary: Vocabulary, windows: list[list[int]]) -> list[list[int]]:
    """The tokens that their texts have by themselves, without broken characters at the ends; as many as they had."""
    texts = [""] * len(windows)
    left = list(range(len(windows)))
    for front, back in _ENDS:
        for i, text in zip(
            left, vocabulary.texts([windows[i][front : len(windows[i]) - back] for i in left]), strict=True
        ):
            texts[i] = "" if "\ufffd" in text else text
        left = [i for i in left if not texts[i]]
    again = vocabulary.all_ids(texts)
    return [ids[: len(window)] for ids, window in zip(again, windows, strict=True)]


def _apart(
    vocabulary: Vocabulary, tried: list[list[int]], of: list[list[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Which of the tried ones are tokenised again as they are, and of which windows the others are."""
    long_enough = [len(ids) >= LEAST_TOKENS and all(map(vocabulary.knows, ids)) for ids in tried]
    again = iter(vocabulary.again([ids for ids, is_long in zip(tried, long_enough, strict=True) if is_long]))
    good, left = [], []
    for ids, is_long, window in zip(tried, long_enough, of, strict=True):
        if is_long and next(again) == ids:
            good.append(ids)
        else:
            left.append(window)
    return good, left


def _whole_words(vocabulary: Vocabulary, ids: list[int]) -> list[int]:
    """The window from the first to before the last token that begins a word."""
    starts = [at for at, token in enumerate(ids) if vocabulary.begins_word(token)]
    return ids[starts[0] : starts[-1]] if starts else []
