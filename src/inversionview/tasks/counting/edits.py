"""Small random changes of counting sequences; each as probable as its way back, for random walks."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.shapes import Positions
from inversionview.tasks.counting.rows import LONGEST, ONE, PAD, Sequences, sequence_counts


def drawn_kind(sequences: Sequences, generator: torch.Generator) -> Positions:
    """One of each sequence's three letters, uniformly."""
    return torch.multinomial((sequence_counts(sequences) > 0).float(), 1, generator=generator)[:, 0]


def flipped(sequences: Sequences, generator: torch.Generator) -> Sequences:
    """One letter, at a random place, turned into another of the kinds that are there."""
    place = _random_place(sequences, generator)
    kinds = (sequence_counts(sequences) > 0).float()
    other = kinds.scatter(1, sequences.gather(1, place), 0.0)
    return sequences.scatter(1, place, torch.multinomial(other, 1, generator=generator))


def swapped(sequences: Sequences, generator: torch.Generator) -> Sequences:
    """The letters of two random places in each other's."""
    one, two = _random_place(sequences, generator), _random_place(sequences, generator)
    first, second = sequences.gather(1, one), sequences.gather(1, two)
    return sequences.scatter(1, one, second).scatter(1, two, first)


def renamed(sequences: Sequences, letter: Positions, generator: torch.Generator) -> tuple[Sequences, Positions]:
    """One kind of letter turned into one that the sequence does not have, in the question too."""
    old = drawn_kind(sequences, generator)
    free = (sequence_counts(sequences) == 0).float()
    new = torch.multinomial(free, 1, generator=generator)[:, 0]
    return torch.where(sequences == old[:, None], new[:, None], sequences), torch.where(letter == old, new, letter)


def longer_or_shorter(sequences: Sequences, generator: torch.Generator) -> Sequences:
    """Put a letter of a random kind in at a random slot, or take one of a random kind out if it is at a random place.

    Both ways have the same probability: of n + 1 slots to put it in, and of n + 1 places to take it out.
    """
    kind = drawn_kind(sequences, generator)[:, None]
    length = (sequences < ONE).sum(dim=1, keepdim=True)
    longer = torch.rand(len(sequences), 1, generator=generator) < 0.5
    slot = (torch.rand(len(sequences), 1, generator=generator) * (length + longer.long())).long()
    spread = torch.arange(LONGEST).expand_as(sequences)
    put = sequences.gather(1, (spread - (spread > slot).long()).clamp(min=0))
    put = torch.where(spread == slot, kind, put)
    out = sequences.gather(1, (spread + (spread >= slot).long()).clamp(max=LONGEST - 1))
    out = out.masked_fill(spread >= length - 1, PAD)
    matches = sequences.gather(1, slot.clamp(max=LONGEST - 1)) == kind
    fits = torch.where(longer, length < LONGEST, matches)
    return torch.where(fits, torch.where(longer, put, out), sequences)


def _random_place(sequences: Sequences, generator: torch.Generator) -> Int[Tensor, "batch 1"]:
    """A place of each sequence [batch, 1], uniform over its letters."""
    length = (sequences < ONE).sum(dim=1, keepdim=True)
    return (torch.rand(len(sequences), 1, generator=generator) * length).long()
