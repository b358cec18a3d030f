"""Inputs of character counting drawn from the prior, given that they share something with another input."""

from __future__ import annotations

import math

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import InputMask, OtherInput, Tokens
from inversionview.tasks.counting.rows import (
    KINDS,
    LETTERS,
    MOST,
    Kinds,
    LetterCounts,
    Multisets,
    asked_at_random,
    asked_letter,
    assemble,
    count_of,
    input_counts,
    length_of,
    multisets,
    shuffled,
)

TRIPLES = math.comb(len(LETTERS), KINDS)

CONDITIONS = {
    "asked": "the letter that is asked for, and its count",
    "question": "the letter that is asked for, its count, and the length",
    "kinds": "the three letters",
    "pair": "two of the letters, and each count to within 1",
    "nearby": "the three letters, and each count to within 2",
    "near": "the three letters, and each count to within 1",
    "letters": "the three letters, and which is asked for",
    "multiset": "the three letters and their counts",
    "counts": "the three letters and their counts, and which is asked for",
}

WITHIN = {"near": 1, "nearby": 2, "pair": 1}
ANY_QUESTION = ("kinds", "multiset", *WITHIN)
_ONE_OTHER = KINDS * (len(LETTERS) - KINDS)
"""Triples that have two letters of a triple and one other."""


def checked_condition(name: str) -> str:
    """Give the name of a condition. Raises `UserError` that names the ones there are."""
    if name not in CONDITIONS:
        raise UserError(f"counting has no condition {name!r}; its conditions are: {', '.join(CONDITIONS)}")
    return name


def draw_given(name: str, tokens: OtherInput, n: int, generator: torch.Generator) -> Tokens:
    """Draw `n` inputs [n, 33] from the prior, given that they share `name` with an input of the domain."""
    one = tokens[None]
    own, letter = multisets(one), asked_letter(one)
    count = count_of(one, letter)
    if checked_condition(name) in ("asked", "question"):
        pairs = _pairs(int(length_of(one)) - int(count) if name == "question" else None)
        keys = torch.rand(n, len(LETTERS), generator=generator)
        keys[:, letter] = -1.0
        letters = torch.cat([letter.expand(n, 1), keys.topk(KINDS - 1, dim=1).indices], dim=1)
        other = pairs[torch.randint(len(pairs), (n,), generator=generator)]
        drawn = Multisets(letters, torch.cat([count.expand(n, 1), other], dim=1))
    elif name in WITHIN:
        low, high = _ends(own.counts, WITHIN[name])
        letters = own.letters.expand(n, KINDS)
        if name == "pair":
            letters = _one_other(letters, generator)
        near = low + (torch.rand(n, KINDS, generator=generator) * (high - low + 1)).long()
        drawn = Multisets(letters, near)
    elif name in ("kinds", "letters"):
        drawn = Multisets(own.letters.expand(n, KINDS), torch.randint(1, MOST + 1, (n, KINDS), generator=generator))
    else:
        drawn = Multisets(own.letters.expand(n, KINDS), own.counts.expand(n, KINDS))
    sequences = shuffled(drawn, generator)
    if name in ANY_QUESTION:
        return assemble(sequences, *asked_at_random(drawn, generator))
    times = (drawn.counts * (drawn.letters == letter)).sum(dim=1)
    return assemble(sequences, letter.expand(n), times)


def log_mass(name: str, tokens: OtherInput) -> float:
    """How probable it is under the prior, in nats, that an input shares `name` with this one."""
    asked_count, triples, counts = len(LETTERS) * MOST, TRIPLES, MOST**KINDS
    match checked_condition(name):
        case "asked":
            return -math.log(asked_count)
        case "question":
            one = tokens[None]
            rest = int(length_of(one)) - int(count_of(one, asked_letter(one)))
            return math.log(len(_pairs(rest)) / MOST**2) - math.log(asked_count)
        case "kinds":
            return -math.log(triples)
        case "near" | "nearby":
            return _log_near(multisets(tokens[None]).counts, WITHIN[name]) - math.log(triples)
        case "pair":
            return _log_near(multisets(tokens[None]).counts, 1) + math.log((1 + _ONE_OTHER) / triples)
        case "letters":
            return -math.log(triples * KINDS)
        case "multiset":
            return -math.log(triples * counts)
        case _:
            return -math.log(triples * counts * KINDS)


def shares(name: str, tokens: OtherInput, others: Tokens) -> InputMask:
    """Which inputs of the domain share `name` with this one."""
    one, checked = tokens[None].to(others.device), checked_condition(name)
    same = torch.ones(len(others), dtype=torch.bool, device=others.device)
    if checked not in ANY_QUESTION:
        same &= asked_letter(others) == asked_letter(one)
    if checked in ("asked", "question"):
        same &= count_of(others, asked_letter(others)) == count_of(one, asked_letter(one))
    if checked == "question":
        same &= length_of(others) == length_of(one)
    if checked in WITHIN:
        same &= _near(input_counts(others), input_counts(one), WITHIN[checked], other=checked == "pair")
    if checked in ("kinds", "letters"):
        same &= ((input_counts(others) > 0) == (input_counts(one) > 0)).all(dim=1)
    if checked in ("multiset", "counts"):
        same &= (input_counts(others) == input_counts(one)).all(dim=1)
    return same


def _one_other(letters: Kinds, generator: torch.Generator) -> Kinds:
    """The triples themselves, or with one letter turned into another, all as probable."""
    n = len(letters)
    free = torch.ones(n, len(LETTERS)).scatter(1, letters, 0.0)
    new = torch.multinomial(free, 1, generator=generator)
    which = (torch.rand(n, 1, generator=generator) * (1 + _ONE_OTHER)).long() - 1
    replaced = torch.arange(KINDS) == which // (len(LETTERS) - KINDS)
    return torch.where(replaced & (which >= 0), new, letters)


def _near(counts: LetterCounts, own: Int[Tensor, "1 letter"], within: int, *, other: bool) -> InputMask:
    """Where the counts of the letters are near; with `other`, one letter may be another, with a count near the lost."""
    apart = counts - own
    lost, new = (own > 0) & (counts == 0), (own == 0) & (counts > 0)
    far = (apart.abs() > within) & ~lost & ~new
    replaced = ((counts * new).sum(dim=1) - (own * lost).sum(dim=1)).abs() <= within
    return ~far.any(dim=1) & replaced & (new.sum(dim=1) <= int(other))


def _log_near(counts: Kinds, within: int) -> float:
    """How probable counts so near to these are, in nats."""
    low, high = _ends(counts, within)
    return math.log(int((high - low + 1).prod()) / MOST**KINDS)


def _ends(counts: Kinds, within: int) -> tuple[Kinds, Kinds]:
    """The least and the largest counts that are so near."""
    return (counts - within).clamp(min=1), (counts + within).clamp(max=MOST)


def _pairs(total: int | None) -> Kinds:
    """All counts [pair, 2] of two letters; with `total`, those that add up to it."""
    pairs = torch.cartesian_prod(torch.arange(1, MOST + 1), torch.arange(1, MOST + 1))
    return pairs if total is None else pairs[pairs.sum(dim=1) == total]
