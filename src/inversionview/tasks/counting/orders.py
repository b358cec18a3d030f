"""All inputs of character counting that have an input's letters, their counts and its question, in every order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache

import torch

from inversionview.errors import UserError
from inversionview.shapes import InputMask, OneInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Task
from inversionview.tasks.counting.rows import (
    KINDS,
    LONGEST,
    MOST,
    PAD,
    Multisets,
    Sequences,
    asked_letter,
    assemble,
    input_counts,
    multisets,
    shuffled,
)

MOST_ORDERS = 20_000_000
"""More would take hours to run through a model."""
RESTRICTIONS = {"counts": "with the letters and the question of the query, in every order"}
_STEPS = (1, MOST + 1, (MOST + 1) ** 2)


class CountingOrders(Task):
    """Uniform over the orders of the letters of one input of `whole`, the task of counting; all else is the input's.

    Its prior is the whole task's, given the letters, their counts and the letter that is asked for. Raises `UserError`
    where there are more than 20 million orders.
    """

    def __init__(self, whole: Task, tokens: OneInput) -> None:
        self.whole = whole
        self.name, self.vocabulary, self.max_length = whole.name, whole.vocabulary, whole.max_length
        self.roles, self.columns = whole.roles, whole.columns
        self._multiset = multisets(tokens[None])
        self._asked = asked_letter(tokens[None])
        self._counts = input_counts(tokens[None])
        counts = self._multiset.counts[0].tolist()
        self.size: int = math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))
        if self.size > MOST_ORDERS:
            raise UserError(
                f"the letters of {whole.decode(tokens)} have {self.size:,} orders, and more than {MOST_ORDERS:,} are "
                "too many to run: read a sample instead (without exact), or a shorter input"
            )

    @property
    def features(self) -> Mapping[str, Feature]:
        """Those of the whole task; some of them are constant here."""
        return self.whole.features

    def encode(self, text: str) -> OneInput:
        """As the whole task does. Raises `UserError` for what is none of these inputs."""
        tokens = self.whole.encode(text)
        if not self.contains(tokens[None]).item():
            raise UserError(f"{text.strip()!r} has other letters, counts or another question than the inputs given")
        return tokens

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` orders [n, 33], with replacement. Raises `UserError` for the side of the split that has none."""
        one = self._assembled(_sorted(self._multiset))
        if split != "all" and self.whole.is_held_out(one).item() != (split == "held-out"):
            raise UserError(f"none of these inputs is on the side {split} of the split: it is by letters and counts")
        drawn = Multisets(*(part.expand(n, KINDS) for part in self._multiset))
        return self._assembled(shuffled(drawn, generator))

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are inputs with these letters, counts and question."""
        inside = self.whole.contains(tokens)
        rows = tokens[inside]
        same = (input_counts(rows) == self._counts.to(tokens.device)).all(dim=1)
        inside[inside.clone()] = same & (asked_letter(rows) == self._asked.to(tokens.device))
        return inside

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All orders, by their token ids; so inputs that begin alike are beside each other."""
        for start in range(0, self.size, block):
            ranks = torch.arange(start, min(start + block, self.size))
            yield self._assembled(_unranked(ranks, self._multiset))

    def role(self, tokens: OneInput, position: int) -> str:
        """The role that a position of this input plays."""
        return self.whole.role(tokens, position)

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Position [batch] that plays `role` in each input, -1 where an input lacks it."""
        return self.whole.position_of(tokens, role)

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """The same for all of them."""
        return self.whole.is_held_out(tokens)

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The count after the colon."""
        return self.whole.answer_mask(tokens)

    def _assembled(self, sequences: Sequences) -> Tokens:
        letter = self._asked.expand(len(sequences))
        return assemble(sequences, letter, self._counts[0, letter])


@cache
def _orders() -> OneInput:
    """How many orders three counts have, at the index that `_STEPS` gives them; 0 above 2^62."""
    counts = [(a, b, c) for c in range(MOST + 1) for b in range(MOST + 1) for a in range(MOST + 1)]
    exact = (math.factorial(sum(of)) // math.prod(map(math.factorial, of)) for of in counts)
    return torch.tensor([n if n < 2**62 else 0 for n in exact])


def _sorted(multiset: Multisets) -> Sequences:
    return _unranked(torch.zeros(1, dtype=torch.long), multiset)


def _unranked(ranks: Positions, multiset: Multisets) -> Sequences:
    """The orders [batch, 27] of these ranks among all orders of one multiset, whose letters are sorted.

    Place by place: the orders that go on with the first letter come before those that go on with the second.
    """
    orders, steps = _orders(), torch.tensor(_STEPS)
    left, ranks = multiset.counts.repeat(len(ranks), 1), ranks.clone()
    sequences = torch.full((len(ranks), LONGEST), PAD)
    for place in range(int(multiset.counts.sum())):
        rest = (left * steps).sum(dim=1, keepdim=True) - steps
        ways = torch.where(left > 0, orders[rest.clamp(min=0)], 0)
        ends = ways.cumsum(dim=1)
        kind = (ranks[:, None] >= ends).sum(dim=1, keepdim=True)
        ranks -= (ends - ways).gather(1, kind)[:, 0]
        sequences[:, place] = multiset.letters[0, kind[:, 0]]
        left.scatter_add_(1, kind, torch.full_like(kind, -1))
    return sequences
