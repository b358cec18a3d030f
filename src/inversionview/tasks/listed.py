"""Inputs that can be listed, all equally probable: a few sentences, or a whole table in all its phrasings."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import InputMask, NextTokens, OneInput, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Task
from inversionview.tasks.mistakes import where_it_leaves
from inversionview.tasks.prefixes import PrefixTree
from inversionview.tasks.vocabulary import Symbols, Vocabulary, used_in
from inversionview.tasks.words import forms

HELD_OUT = 0.25
"""Share of the inputs that are held out."""


class ListedTask(Task):
    """Uniform over distinct rows [input, pos], in their order; an input may be typed without its final full stop.

    `places`: the position [input] of each role, -1 where an input lacks it; where several are one, the first in this
    order names it. Features are `token`, `position` and those that `looked_up` makes. Made by `of_texts`, or by a class
    that derives from it.
    """

    def __init__(
        self, vocabulary: Symbols, rows: Tokens, *, held_out: InputMask, places: Mapping[str, Positions] | None = None
    ) -> None:
        self.vocabulary, self.listed, self.held_out, self._places = vocabulary, rows, held_out, places or {}
        self.max_length, self.size = rows.shape[1], len(rows)
        self.roles = tuple(role for role, place in self._places.items() if bool((place > 0).any()))
        sizes = {"vocab_size": self.vocab_size, "end": self.end, "pad": self.pad}
        self._tree = PrefixTree(rows, used=self.used_tokens, **sizes)
        self._sides = {"train": (~held_out).nonzero()[:, 0], "held-out": held_out.nonzero()[:, 0]}

    @classmethod
    def of_texts(
        cls,
        name: str,
        tokenizer: Any,
        texts: Sequence[str],
        *,
        places: Mapping[str, Sequence[str]] | None = None,
        features: Mapping[str, Sequence[str]] | None = None,
    ) -> ListedTask:
        """Of these texts; a quarter of them, at least one, is held out, by hashes.

        `tokenizer`: a Hugging Face tokenizer, or `tasks.vocabulary.Characters`. `places`: for each role the word that
        plays it in each text, whose last token is the position; empty where none does. `features`: for each name its
        value in each text. Raises `UserError` for fewer than two texts, two that are equal, as many words or values as
        there are not, and a word that is not in its text.
        """
        vocabulary = tokenizer if isinstance(tokenizer, Symbols) else Vocabulary(tokenizer)
        for what, listed in {**(places or {}), **(features or {})}.items():
            if len(listed) != len(texts):
                raise UserError(f"{what} has {len(listed)} values for {len(texts)} texts: give one for each")
        if len(set(texts)) < max(2, len(texts)):
            raise UserError(f"task {name} needs two texts or more, all different, not {len(texts)}")
        ids = [vocabulary.known_ids(text) for text in texts]
        width = max(map(len, ids)) + 2
        held_out = torch.zeros(len(texts), dtype=torch.bool)
        held_out[smallest_hashes(texts, HELD_OUT)] = True
        rows = torch.stack([vocabulary.row(of_text, width) for of_text in ids])
        at = {
            role: torch.tensor([_found(vocabulary, *one) for one in zip(rows, texts, words, strict=True)])
            for role, words in (places or {}).items()
        }
        task = cls(vocabulary, rows, held_out=held_out, places=at)
        task.name, task.columns = name, tuple(features or ())
        for feature, values in (features or {}).items():
            codes, names = coded(values)
            task.features[feature] = task.looked_up(feature, codes, names, f"{feature} of the text")
        return task

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of one of the inputs; its final full stop may be left out, and its accented letters typed as one
        character or two. Raises `UserError` for any other.
        """
        typed = text.strip()
        for said in (form + stop for form in forms(typed) for stop in ("", ".")):
            row = self.vocabulary.row(self.vocabulary.ids(said))
            if int(self.index(row[None])[0]) >= 0:
                return row
        raise UserError(f"{typed!r} is not an input of {self.name}: {where_it_leaves(self, typed, self.listed[0])}")

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, pos] uniformly, with replacement."""
        if split == "all":
            return self.listed[torch.randint(len(self.listed), (n,), generator=generator)]
        side = self._sides[split]
        return self.listed[side[torch.randint(len(side), (n,), generator=generator)]]

    def index(self, tokens: Tokens) -> Positions:
        """Which of the inputs each row is, by its number; -1 where it is none."""
        if len(tokens) == 1:  # for which the tree is slow
            row = tokens[0].tolist()
            used = len(self.vocabulary.up_to_end(tokens[0]))
            padded = all(token == self.pad for token in row[used:])
            return torch.tensor([self._numbers.get(tuple(row[:used]), -1) if padded else -1], device=tokens.device)
        return self._tree.index(tokens)

    @cached_property
    def _numbers(self) -> dict[tuple[int, ...], int]:
        return {tuple(self.vocabulary.up_to_end(row)): i for i, row in enumerate(self.listed)}

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are one of the inputs, an end token and padding, and nothing else."""
        return self.index(tokens) >= 0

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All inputs, as they are listed."""
        yield from torch.split(self.listed, block)

    @cached_property
    def used_tokens(self) -> Int[Tensor, " used"]:
        """Those of the listed inputs."""
        return used_in(self.listed, self.vocabulary)

    def next_tokens(self, tokens: Tokens, start: int = 0) -> NextTokens:
        """Tokens [batch, pos, used] with which what stands up to each position can go on to become an input."""
        return self._tree.next_tokens(tokens, start)

    def places(self, tokens: Tokens) -> dict[str, Positions]:
        """Position [batch] of every role, -1 in inputs that lack it."""
        index = self.index(tokens)
        return {role: _at(index, place, -1) for role, place in self._places.items()}

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which inputs are held out."""
        return self._of_row(self.held_out, tokens, value=False)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """The token at a position, and its index."""
        indices = tuple(str(t) for t in range(self.max_length))
        position = Feature("position", indices, lambda x, t: t, "the index of the position")
        return {"token": token_feature(self.vocabulary, torch.unique(self.listed)), "position": position}

    def looked_up(self, name: str, codes: Positions, values: tuple[str, ...], about: str) -> Feature:
        """A feature of which the code [input] of every input is known."""
        return Feature(name, values, lambda tokens, positions: self._of_row(codes, tokens, 0), about)

    def _of_row(self, column: torch.Tensor, tokens: Tokens, value: int | bool) -> torch.Tensor:
        """What a column [input] has for each row [batch], `value` for what is no input."""
        return _at(self.index(tokens), column, value)


def _found(vocabulary: Symbols, row: OneInput, text: str, word: str) -> int:
    position = vocabulary.find(row, word)
    if word and position < 0:
        raise UserError(f"{text!r} has no word {word!r}: give for each text the whole word that plays the role, or ''")
    return position


def _at(index: Positions, column: torch.Tensor, value: int | bool) -> torch.Tensor:
    return torch.where(index >= 0, column.to(index.device)[index.clamp_min(0)], value)


def token_feature(vocabulary: Symbols, used: Positions) -> Feature:
    """Which of the tokens that occur, sorted, stands at a position; one name each."""
    texts = [repr(vocabulary.text([token])) for token in used.tolist()]
    names = [
        text if texts.count(text) == 1 else f"{text} ({token})"
        for text, token in zip(texts, used.tolist(), strict=True)
    ]

    def compute(tokens: Tokens, positions: Positions) -> Positions:
        there = tokens.gather(1, positions[:, None])[:, 0]
        return torch.searchsorted(used.to(there.device), there).clamp_max(len(used) - 1)

    return Feature("token", tuple(names), compute, "what stands there")


def coded(names: Sequence[str]) -> tuple[Positions, tuple[str, ...]]:
    """A code for each name, and the name of each code, sorted."""
    values = tuple(sorted(set(names)))
    codes = {name: code for code, name in enumerate(values)}
    return torch.tensor([codes[name] for name in names]), values


def smallest_hashes(keys: Sequence[str], share: float) -> list[int]:
    """The indices of this share of the keys, by their hashes; at least one."""
    order = sorted(range(len(keys)), key=lambda i: (zlib.crc32(keys[i].encode()), keys[i]))
    return order[: math.ceil(share * len(keys))]
