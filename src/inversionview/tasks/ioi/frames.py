"""Sentences as tokens and as what they are made of: frames (an opening with an ending) and what fills their slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import InputMask, NextTokens, PositionMask, Positions, Tokens
from inversionview.tasks.ioi.phrases import Phrases
from inversionview.tasks.prefixes import PrefixTree
from inversionview.tasks.vocabulary import Vocabulary

SLOTS = ("first", "second", "place", "S2", "object", "answer")
FEWEST = {"names": 3, "places": 1, "objects": 1}


class Sentences(NamedTuple):
    """Inputs [batch] as what they are made of: indices of a frame and of what fills it."""

    frame: Positions
    io: Positions
    s: Positions
    s_first: Positions
    """1 where the opening names S before IO."""
    place: Positions
    object: Positions


class Names(NamedTuple):
    """The names among the tokens up to each position [batch, pos], as indices; 0 until there is one."""

    many: Int[Tensor, "batch pos"]
    named: tuple[Int[Tensor, "batch pos"], ...]
    """The first, the second, the third and the fourth."""

    @property
    def fit(self) -> PositionMask:
        """Whether the second is another than the first, the third one of the two, and the fourth the other one."""
        first, second, third, fourth = self.named
        right = (self.many < 2) | (first != second)
        right &= (self.many < 3) | (third == first) | (third == second)
        return right & ((self.many < 4) | (fourth == first + second - third)) & (self.many < 5)


class Frames:
    """Every opening with every ending, and the words that the tokenizer has as one token, behind a space, to fill them.

    Raises `UserError` where too few words are such tokens, where one of them is a word of a phrase too, or where the
    tokenizer cuts a sentence otherwise than word by word at the slots.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        phrases: Phrases,
        names: Sequence[str],
        places: Sequence[str],
        objects: Sequence[str],
    ) -> None:
        self.vocabulary, self.phrases = vocabulary, phrases.checked()
        pairs = [(opening, ending) for opening in phrases.openings for ending in phrases.endings]
        self.templates = tuple(opening + ending for opening, ending in pairs)
        by_kind = {
            what: _single_tokens(vocabulary, self.templates[0].split(" ")[0], what, words)
            for what, words in (("names", names), ("places", places), ("objects", objects))
        }
        self.names, self.places, self.objects = (tuple(tokens) for tokens in by_kind.values())
        self._tokens = {what: torch.tensor(list(tokens.values())) for what, tokens in by_kind.items()}
        self._kind, self._index = self._tables()
        self.rows, self.slots = self._laid_out()
        self._check_words()
        abstract = self._kind[self.rows]
        self._tree = PrefixTree(abstract, vocab_size=vocabulary.size, end=vocabulary.end, pad=vocabulary.pad)

    @property
    def used(self) -> Int[Tensor, " token"]:
        """All tokens that stand in some sentence, sorted."""
        used: Tensor = torch.unique(torch.cat([self.rows.flatten(), *self._tokens.values()]))
        return used

    def read(self, tokens: Tokens) -> tuple[Sentences, InputMask]:
        """What each row is made of, and which rows are sentences; the others are taken for the first of all."""
        abstract = self._kind.to(tokens.device)[tokens]
        frame = self._tree.index(abstract)
        inside = (frame >= 0) & self._names(tokens, abstract).fit[:, -1]
        frame = frame * inside
        slots = self.slots.to(tokens.device)[frame].clamp_max(tokens.shape[1] - 1)
        filled = self._index.to(tokens.device)[tokens.gather(1, slots)]
        first, _, place, s, thing, io = (filled * inside[:, None]).unbind(1)
        return Sentences(frame, io, s, (first == s).long(), place, thing), inside

    def write(self, sentences: Sentences) -> Tokens:
        """Tokens [batch, pos] of these sentences."""
        frame, io, s, s_first, place, thing = sentences
        first, second = torch.where(s_first > 0, s, io), torch.where(s_first > 0, io, s)
        names, places, objects = (self._tokens[what] for what in ("names", "places", "objects"))
        filled = [names[first], names[second], places[place], names[s], objects[thing], names[io]]
        return self.rows[frame].scatter(1, self.slots[frame], torch.stack(filled, dim=1))

    def text(self, sentence: Sequence[int]) -> str:
        """One sentence in words."""
        frame, io, s, s_first, place, thing = sentence
        first, second = (s, io) if s_first else (io, s)
        return self.templates[frame].format(
            A=self.names[first], B=self.names[second], S=self.names[s], IO=self.names[io],
            place=self.places[place], object=self.objects[thing],
        )  # fmt: skip

    def next_tokens(self, tokens: Tokens) -> NextTokens:
        """Tokens with which what stands up to each position can go on; all where it has ended or is no beginning."""
        abstract = self._kind.to(tokens.device)[tokens]
        possible = self._tree.next_tokens(abstract)
        for what in ("places", "objects"):
            index = self._tokens[what].to(tokens.device)
            possible[:, :, index] = possible[:, :, index[:1]].expand(-1, -1, len(index))
        names, index = self._names(tokens, abstract), self._tokens["names"].to(tokens.device)
        possible[:, :, index] = possible[:, :, index[:1]] & self._next_names(names)
        ended = tokens == self.vocabulary.end
        ended[:, 0] = False
        free = ended | (self._tree.nodes(abstract) < 0) | ~names.fit
        possible[free] = True
        return possible

    def _next_names(self, names: Names) -> Bool[Tensor, "batch pos name"]:
        """Which names can come next where a name can."""
        name = torch.arange(len(self.names), device=names.many.device)
        many = names.many[:, :, None]
        first, second, third, _ = (one[:, :, None] for one in names.named)
        two = (name == first) | (name == second)
        return torch.where(
            many < 2, (many == 0) | (name != first), torch.where(many == 2, two, name == first + second - third)
        )

    def _names(self, tokens: Tokens, abstract: Tokens) -> Names:
        there = abstract == int(self._tokens["names"][0])
        count = there.long().cumsum(dim=1)
        index = self._index.to(tokens.device)[tokens]
        named = [torch.where(there & (count == k), index, 0).cumsum(dim=1) for k in range(1, 5)]
        return Names(count, tuple(named))

    def _tables(self) -> tuple[Int[Tensor, " vocab"], Int[Tensor, " vocab"]]:
        """For each token the first word of its kind (itself, if it fills no slot), and its index among that kind."""
        kind, index = torch.arange(self.vocabulary.size), torch.zeros(self.vocabulary.size, dtype=torch.long)
        for tokens in self._tokens.values():
            kind[tokens], index[tokens] = tokens[0].clone(), torch.arange(len(tokens))
        return kind, index

    def _laid_out(self) -> tuple[Tokens, Int[Tensor, "frame slot"]]:
        """A row for each frame, and where its slots are."""
        texts = [self.text((frame, 0, 1, 0, 0, 0)) for frame in range(len(self.templates))]
        all_ids = self.vocabulary.all_ids(texts)
        for text, ids in zip(texts, all_ids, strict=True):
            if not all(map(self.vocabulary.knows, ids)):
                raise UserError(f"the tokenizer does not know all words of {text!r}")
        width = max(map(len, all_ids)) + 2
        rows = torch.stack([self.vocabulary.row(ids, width) for ids in all_ids])
        slots = [
            _slot_positions(template, self._kind[row].tolist(), [int(tokens[0]) for tokens in self._tokens.values()])
            for template, row in zip(self.templates, rows, strict=True)
        ]
        return rows, torch.tensor(slots)

    def _check_words(self) -> None:
        """Every word in every frame: texts are cut at the slots as they are written there."""
        counts = [len(words) for words in (self.names, self.places, self.objects)]
        made = [
            (frame, i % counts[0], (i + 1) % counts[0], i % 2, i % counts[1], i % counts[2])
            for frame in range(len(self.templates))
            for i in range(max(counts))
        ]
        texts = [self.text(sentence) for sentence in made]
        rows = self.write(Sentences(*torch.tensor(made).unbind(1)))
        for text, row, ids in zip(texts, rows, self.vocabulary.all_ids(texts), strict=True):
            if ids != self.vocabulary.inner(row):
                raise UserError(f"the tokenizer does not cut {text!r} word by word at its names, place and object")


def _slot_positions(template: str, kinds: list[int], words: list[int]) -> list[int]:
    """Positions of `SLOTS` in a row, `words` being what stands for a name, a place and an object."""
    names, places, objects = ([i for i, kind in enumerate(kinds) if kind == word] for word in words)
    if (len(names), len(places), len(objects)) != (4, 1, 1):
        raise UserError(f"a word that fills a slot stands in the phrase itself: {template!r}")
    return [names[0], names[1], places[0], names[2], objects[0], names[3]]


def _single_tokens(vocabulary: Vocabulary, before: str, what: str, words: Sequence[str]) -> dict[str, int]:
    """The words that are one token behind another word and a space, with these tokens."""
    start = vocabulary.ids(before)
    token_of: dict[str, int] = {}
    for word in dict.fromkeys(words):
        ids = vocabulary.ids(f"{before} {word}")
        unknown = not vocabulary.knows(ids[-1]) or ids[-1] in token_of.values()
        if ids[:-1] == start and not unknown:
            token_of[word] = ids[-1]
    if len(token_of) < FEWEST[what]:
        raise UserError(
            f"{len(token_of)} of the {len(words)} {what} are one token in this tokenizer, and at least {FEWEST[what]} "
            f"are needed: give {what} that it has as whole words"
        )
    return token_of
