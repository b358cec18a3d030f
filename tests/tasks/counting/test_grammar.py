"""Which tokens can come next, against a grammar written on strings."""

from __future__ import annotations

import pytest
import torch

from inversionview.tasks import Constrained, get_task
from inversionview.tasks.counting.rows import SYMBOLS

TASK = get_task("counting")


def can_follow(text: str) -> set[str]:
    """Characters after `text`, the beginning of an input without its begin token; `E` is the end."""
    letters, bar, question = text.partition("|")
    kinds = set(letters)
    if not bar:
        more = {c for c in "abcdefghijklmnopqrstuvwxyz" if letters.count(c) < 9 and (c in kinds or len(kinds) < 3)}
        return more | ({"|"} if len(kinds) == 3 else set())
    if not question:
        return kinds
    if len(question) < 3:
        return {":"} if len(question) == 1 else {str(letters.count(question[0]))}
    return {"E"}


def names(mask: torch.Tensor) -> set[str]:
    return {(SYMBOLS + "BE_")[i] for i in mask.nonzero()[:, 0].tolist()}


def test_counting_says_what_can_come_next():
    assert isinstance(TASK, Constrained)
    tokens = TASK.sample(300, generator=torch.Generator().manual_seed(0))
    possible = TASK.next_tokens(tokens)
    for row, mask in zip(tokens, possible, strict=True):
        text = TASK.decode(row)
        for t in range(len(text) + 1):
            assert names(mask[t]) == can_follow(text[:t])
        assert mask[len(text) + 1 :].all(), "after the end anything may stand"


def test_a_letter_comes_nine_times_at_most():
    row = TASK.encode("aaaaaaaaabbbbbbbbbccccccccc|c:9")[None]
    possible = TASK.next_tokens(row)[0]
    assert "a" not in names(possible[9])
    assert names(possible[27]) == {"|"}


def test_every_input_goes_only_where_it_can():
    tokens = TASK.sample(500, generator=torch.Generator().manual_seed(1))
    possible = TASK.next_tokens(tokens[:, :-1])
    assert possible.gather(2, tokens[:, 1:, None]).all()
    assert torch.equal(TASK.next_tokens(tokens[:, :-1], 3), possible[:, 3:])


@pytest.mark.parametrize("text", ["aaaaaaaaaa", "abcd", "ab|", "abc|d", "abc||", "abc|a:2", "abc|a1", "1", "abc|a:1a"])
def test_after_what_is_no_beginning_anything_may_come(text):
    row = torch.tensor([[37, *(SYMBOLS.index(c) for c in text)]])
    assert TASK.next_tokens(row)[0, -1].all()
    assert not TASK.next_tokens(row)[0, -2 if text != "abc|a:1a" else -3].all()


def test_nothing_begins_without_the_begin_token():
    assert TASK.next_tokens(TASK.encode("abc|a:1")[None, 1:]).all()
    assert TASK.next_tokens(torch.empty(0, 5, dtype=torch.long)).shape == (0, 5, 40)
