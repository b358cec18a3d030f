"""Which tokens can come next, against the list of all sums as strings."""

from __future__ import annotations

import pytest
import torch

from inversionview.tasks import Constrained, get_task
from inversionview.tasks.addition.task import SYMBOLS

TASK = get_task("addition")
SUMS = [f"{a}+{b}={a + b}E" for a in (100, 105, 499, 500, 999) for b in range(100, 1000)]


def row(text: str) -> torch.Tensor:
    return torch.tensor([[10, *(SYMBOLS.index(c) for c in text)]])


def names(mask: torch.Tensor) -> set[str]:
    return {(SYMBOLS + "_")[i] for i in mask.nonzero()[:, 0].tolist()}


def test_what_can_come_next_is_what_some_sum_has_there():
    assert isinstance(TASK, Constrained)
    followers: dict[str, set[str]] = {}
    for text in SUMS:
        for t in range(5, len(text)):  # of the first numbers only some are listed
            followers.setdefault(text[:t], set()).add(text[t])
    for before in sorted(followers)[::37]:
        assert names(TASK.next_tokens(row(before))[0, -1]) == followers[before], before


def test_what_can_come_next_in_the_first_number():
    possible = TASK.next_tokens(row("615+"))[0]
    assert [names(mask) for mask in possible[:4]] == [set("123456789"), set("0123456789"), set("0123456789"), {"+"}]
    assert names(possible[4]) == set("123456789")


def test_every_input_goes_only_where_it_can():
    tokens = TASK.sample(500, generator=torch.Generator().manual_seed(1))
    possible = TASK.next_tokens(tokens)
    inside = tokens[:, 1:] != TASK.pad
    assert possible[:, :-1].gather(2, tokens[:, 1:, None])[..., 0][inside].all()
    assert (possible[:, 8].sum(-1) == 1).all(), "the sum is forced"
    ended = (tokens == TASK.end).cumsum(dim=1) > 0
    assert possible[ended].all(), "after the end anything may stand"
    for start in (0, 3, 9, 13):
        assert torch.equal(TASK.next_tokens(tokens, start), possible[:, start:])
        assert torch.equal(TASK.next_tokens(tokens[:, : start + 1], start)[:, 0], possible[:, start])


@pytest.mark.parametrize("wrong", ["0", "61+", "615=", "615+0", "615+861=2", "615+861=1477", "615+861=1476E", "6B"])
def test_after_what_is_no_beginning_anything_may_come(wrong):
    assert TASK.next_tokens(row(wrong))[0, -1].all()
    assert not TASK.next_tokens(row(wrong))[0, -2].all()
    assert TASK.next_tokens(row(wrong + "1"))[0, -1].all()


def test_rows_of_any_width():
    assert TASK.next_tokens(TASK.encode("615+861=1476")[None, 1:]).all()
    assert TASK.next_tokens(torch.empty(0, 5, dtype=torch.long)).shape == (0, 5, 15)
    wide = torch.cat([TASK.encode("615+161=776")[None], torch.full((1, 5), TASK.pad)], dim=1)
    assert TASK.next_tokens(wide)[0, 12:].all()
    assert names(TASK.next_tokens(wide)[0, 11]) == {"E"}
