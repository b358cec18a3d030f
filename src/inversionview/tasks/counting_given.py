"""Inputs of character counting drawn from the prior, given that they share something with another input."""

from __future__ import annotations

import math

import torch

from inversionview.errors import UserError
from inversionview.shapes import InputMask, OtherInput, Tokens
from inversionview.tasks.counting_rows import (
    KINDS,
    LETTERS,
    MOST,
    Kinds,
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
    "letters": "the three letters, and which is asked for",
    "multiset": "the three letters and their counts",
    "counts": "the three letters and their counts, and which is asked for",
}


def checked_condition(name: str) -> str:
    """Give the name of a condition. Raises `UserError` that names the ones there are."""
    if name not in CONDITIONS:
        raise UserError(f"counting has no condition {name!r}; its conditions are: {', '.join(CONDITIONS)}")
    return name


def draw_given(name: str, tokens: OtherInput, n: int, generator: torch.Generator) -> Tokens:
    """Draw `n` inputs [n, 33] from the prior, given that they share `name` with an input of the domain."""
    one = tokens[None]
    own, asked = multisets(one), asked_letter(one)
    count = count_of(one, asked)
    if checked_condition(name) in ("asked", "question"):
        pairs = _pairs(int(length_of(one)) - int(count) if name == "question" else None)
        keys = torch.rand(n, len(LETTERS), generator=generator)
        keys[:, asked] = -1.0
        letters = torch.cat([asked.expand(n, 1), keys.topk(KINDS - 1, dim=1).indices], dim=1)
        other = pairs[torch.randint(len(pairs), (n,), generator=generator)]
        drawn = Multisets(letters, torch.cat([count.expand(n, 1), other], dim=1))
    elif name in ("kinds", "letters"):
        drawn = Multisets(own.letters.expand(n, KINDS), torch.randint(1, MOST + 1, (n, KINDS), generator=generator))
    else:
        drawn = Multisets(own.letters.expand(n, KINDS), own.counts.expand(n, KINDS))
    sequences = shuffled(drawn, generator)
    if name in ("kinds", "multiset"):
        return assemble(sequences, *asked_at_random(drawn, generator))
    times = (drawn.counts * (drawn.letters == asked)).sum(dim=1)
    return assemble(sequences, asked.expand(n), times)


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
    if checked != "kinds" and checked != "multiset":
        same &= asked_letter(others) == asked_letter(one)
    if checked in ("asked", "question"):
        same &= count_of(others, asked_letter(others)) == count_of(one, asked_letter(one))
    if checked == "question":
        same &= length_of(others) == length_of(one)
    if checked in ("kinds", "letters"):
        same &= ((input_counts(others) > 0) == (input_counts(one) > 0)).all(dim=1)
    if checked in ("multiset", "counts"):
        same &= (input_counts(others) == input_counts(one)).all(dim=1)
    return same


def _pairs(total: int | None) -> Kinds:
    """All counts [pair, 2] of two letters; with `total`, those that add up to it."""
    pairs = torch.cartesian_prod(torch.arange(1, MOST + 1), torch.arange(1, MOST + 1))
    return pairs if total is None else pairs[pairs.sum(dim=1) == total]
