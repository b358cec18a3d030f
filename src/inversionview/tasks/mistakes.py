"""What is wrong with a text that is no input of a task: at which word it leaves the domain."""

from __future__ import annotations

import difflib
import re
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.shapes import NextTokens, OneInput, Tokens
from inversionview.tasks.vocabulary import Symbols

_SHOWN = 5


class _Guided(Protocol):
    @property
    def vocabulary(self) -> Symbols: ...

    @property
    def used_tokens(self) -> Int[Tensor, " used"]: ...

    def next_tokens(self, tokens: Tokens) -> NextTokens: ...


def where_it_leaves(task: _Guided, typed: str, example: OneInput) -> str:
    """At which word a text leaves the domain, and what could stand there, by the task's `next_tokens`."""
    vocabulary = task.vocabulary
    ids = vocabulary.ids(typed)
    if not ids:
        return f"it is empty; one is {vocabulary.text(vocabulary.inner(example))!r}"
    row = vocabulary.row(ids)
    possible, used = task.next_tokens(row[None])[0], task.used_tokens
    column = torch.searchsorted(used, row[1:]).clamp_max(len(used) - 1)
    right = possible[:-1].gather(1, column[:, None])[:, 0] & (used[column] == row[1:])
    wrong = int((~right).long().argmax())
    before = vocabulary.text(ids[:wrong])
    words = [vocabulary.text([t]) for t in used[possible[wrong]].tolist() if t != vocabulary.end]
    if not words:
        return f"it goes on after {before!r}"
    word = re.match(r"\s*(\w+|\W)?", typed[len(before) :])
    instead = word.group() if word else ""
    near = difflib.get_close_matches(instead[: max(map(len, words))], words, n=_SHOWN, cutoff=0.3)
    shown = ", ".join(repr(word) for word in (near or words[:_SHOWN]))
    where = f"after {before!r} comes" if before else "it begins with"
    more = f" or {len(words) - _SHOWN} others" if len(words) > _SHOWN else ""
    return f"{where} {shown}{more}, not {instead!r}" if instead else f"it stops, and {where} {shown}{more}"
