"""How inputs of character counting lie in token arrays: reading their parts, putting parts together,
and which tokens can come next.

What reads a part of an input expects inputs of the domain; only `in_sequence` and `letter_counts` take anything.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from inversionview.shapes import InputMask, NextTokens, PositionMask, Positions, Tokens

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYMBOLS = LETTERS + "123456789|:"
BAR, COLON, BEGIN, END, PAD = 35, 36, 37, 38, 39
ONE = 26
"""The token `1`; the other digits follow it."""
KINDS, MOST = 3, 9
LONGEST = KINDS * MOST
WIDTH = LONGEST + 6
"""Positions of the longest input, begin and end included."""

Sequences = Int[Tensor, "batch place"]
"""The letters before the bar [batch, 27], then padding."""
LetterCounts = Int[Tensor, "batch letter"]
Kinds = Int[Tensor, "batch kind"]


class Multisets(NamedTuple):
    """Which letters, each once, and how often each occurs."""

    letters: Kinds
    counts: Kinds

    def where(self, mask: InputMask) -> Multisets:
        return Multisets(self.letters[mask], self.counts[mask])

    def first(self, n: int) -> Multisets:
        return Multisets(self.letters[:n], self.counts[:n])


def in_sequence(tokens: Tokens) -> PositionMask:
    """Positions between the begin token and the first bar."""
    before = (tokens == BAR).cumsum(dim=1) == 0
    before[:, 0] = False
    return before


def letter_counts(tokens: Tokens, where: PositionMask) -> LetterCounts:
    """How often each letter [batch, 26] occurs where the mask is true."""
    counts = torch.zeros(len(tokens), len(LETTERS) + 1, dtype=torch.long, device=tokens.device)
    letter = torch.where(where & (tokens < ONE), tokens, len(LETTERS)).long()
    return counts.scatter_add(1, letter, torch.ones_like(letter))[:, : len(LETTERS)]


def input_counts(tokens: Tokens) -> LetterCounts:
    """How often each letter occurs before the bar."""
    return letter_counts(tokens, in_sequence(tokens))


def multisets(tokens: Tokens) -> Multisets:
    """The letters of each input, in the order of the alphabet, and their counts."""
    most = input_counts(tokens).topk(KINDS, dim=1)
    order = most.indices.argsort(dim=1)
    return Multisets(most.indices.gather(1, order), most.values.gather(1, order))


def length_of(tokens: Tokens) -> Positions:
    """Letters before the bar."""
    return (tokens == BAR).long().argmax(dim=1) - 1


def asked_letter(tokens: Tokens) -> Positions:
    """The letter after the bar."""
    return tokens.gather(1, length_of(tokens)[:, None] + 2)[:, 0]


def count_of(tokens: Tokens, letter: Positions) -> Positions:
    """How often a letter of each input occurs before its bar."""
    return ((tokens == letter[:, None]) & in_sequence(tokens)).sum(dim=1)


def others(tokens: Tokens) -> tuple[Positions, Positions]:
    """The two letters that are not asked for, by where they first appear."""
    other = in_sequence(tokens) & (tokens != asked_letter(tokens)[:, None])
    one = tokens.gather(1, other.long().argmax(dim=1, keepdim=True))
    rest = other & (tokens != one)
    return one[:, 0], tokens.gather(1, rest.long().argmax(dim=1, keepdim=True))[:, 0]


def seen(tokens: Tokens, positions: Positions) -> Positions:
    """How often the letter at a position occurs before the bar, up to there; 0 where no letter stands."""
    here = tokens.gather(1, positions[:, None])
    upto = torch.arange(tokens.shape[1], device=tokens.device) <= positions[:, None]
    times = ((tokens == here) & in_sequence(tokens) & upto).sum(dim=1)
    return torch.where(here[:, 0] < ONE, times, 0)


def sequences_of(tokens: Tokens) -> Sequences:
    """The letters before the bar [batch, 27], then padding."""
    rows = torch.nn.functional.pad(tokens, (0, WIDTH - tokens.shape[1]), value=PAD)[:, 1 : LONGEST + 1]
    return rows.masked_fill((rows == BAR).cumsum(dim=1) > 0, PAD)


def sequence_counts(sequences: Sequences) -> LetterCounts:
    """How often each letter occurs in each sequence."""
    return letter_counts(sequences, sequences < ONE)


def shuffled(drawn: Multisets, generator: torch.Generator) -> Sequences:
    """The letters [batch, 27] of each in random order, then padding."""
    n, ends = len(drawn.counts), drawn.counts.cumsum(dim=1)
    slots = torch.arange(LONGEST).expand(n, LONGEST)
    kind = (slots[:, :, None] >= ends[:, None, :]).sum(dim=2)
    letters = torch.nn.functional.pad(drawn.letters, (0, 1), value=PAD).gather(1, kind)
    keys = torch.rand(n, LONGEST, generator=generator).masked_fill(kind == KINDS, 2.0)
    return letters.gather(1, keys.argsort(dim=1))


def asked_at_random(drawn: Multisets, generator: torch.Generator) -> tuple[Positions, Positions]:
    """A letter of each at random, and its count."""
    kind = torch.randint(KINDS, (len(drawn.counts), 1), generator=generator)
    return drawn.letters.gather(1, kind)[:, 0], drawn.counts.gather(1, kind)[:, 0]


def assemble(sequences: Sequences, letter: Positions, counts: Positions) -> Tokens:
    """Whole inputs [batch, 33] of sequences [batch, 27], the letters asked for and their counts."""
    n, device = len(sequences), sequences.device
    tokens = torch.full((n, WIDTH), PAD, device=device)
    tokens[:, 0] = BEGIN
    tokens[:, 1 : LONGEST + 1] = sequences
    bar = 1 + (sequences < ONE).sum(dim=1)
    fill = torch.full_like(letter, BAR)
    tail = torch.stack([fill, letter, fill + COLON - BAR, counts + ONE - 1, fill + END - BAR], dim=1)
    return tokens.scatter(1, bar[:, None] + torch.arange(5, device=device), tail)


def next_tokens(tokens: Tokens, start: int = 0) -> NextTokens:
    """Tokens [batch, pos, 40] with which the beginning up to each position can go on; see `Constrained`."""
    spread = torch.arange(tokens.shape[1], device=tokens.device)
    after_bar = (tokens == BAR).cumsum(dim=1) > 0
    bar = torch.where(after_bar.any(dim=1), after_bar.long().argmax(dim=1), tokens.shape[1])[:, None]
    since = torch.where(after_bar, spread - bar, -1)
    letter = torch.where((tokens < ONE) & ~after_bar & (spread > 0), tokens, len(LETTERS))
    counts = F.one_hot(letter, len(LETTERS) + 1)[..., :-1].cumsum(dim=1)
    question = tokens.gather(1, (bar + 1).clamp(max=tokens.shape[1] - 1)).clamp(max=len(LETTERS) - 1)
    answer = ONE - 1 + counts.gather(2, question[:, None].expand(-1, counts.shape[1], -1))
    whole, some = (counts > 0).sum(dim=2, keepdim=True) == KINDS, counts > 0
    before = since[..., None] < 0
    possible = torch.zeros(*tokens.shape, PAD + 1, dtype=torch.bool, device=tokens.device)
    possible[..., : len(LETTERS)] = (before & (counts < MOST) & (some | ~whole)) | ((since == 0)[..., None] & some)
    possible[..., BAR] = (before & whole)[..., 0]
    possible[..., COLON] = since == 1
    possible |= (since == 2)[..., None] & (torch.arange(PAD + 1, device=tokens.device) == answer)
    possible[..., END] = since == 3
    taken = possible[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    is_beginning = torch.cat([tokens[:, :1] == BEGIN, taken], dim=1).cumprod(dim=1).bool() & (since < 4)
    return (possible | ~is_beginning[..., None])[:, start:]
