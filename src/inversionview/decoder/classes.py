"""The classes that a decoder chooses among: each of the tokens it writes, and perhaps one more for all others.

Of the others, each is equally probable within their class, so that densities stay exact: of n others, one has the
probability of the class divided by n, at every temperature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inversionview.decoder.loss import IGNORED


class Chosen(NamedTuple):
    """Tokens as classes."""

    classes: Int[Tensor, "*shape"]
    within: Float[Tensor, "*shape"]
    """log-probability of each token within its class: 0 for those that are written, minus infinity for one that is in
    no class."""


class Classes(nn.Module):
    """Between the ids of tokens and the rows of a decoder's embedding and head.

    `tokens` are those that it writes, sorted; without any, all of the vocabulary, and the two are the same.
    """

    of_token: Tensor
    token_of: Tensor
    others: Tensor
    within: Tensor

    def __init__(self, vocab_size: int, tokens: Sequence[int] = (), *, others: bool = False) -> None:
        super().__init__()
        self.all, self.written = not tokens, tuple(tokens) or tuple(range(vocab_size))
        self.count = len(self.written) + others
        if self.all:
            return
        listed = torch.zeros(vocab_size, dtype=torch.bool)
        listed[list(tokens)] = True
        outside = (~listed).nonzero()[:, 0]
        of_token = torch.full((vocab_size,), len(tokens) if others else 0)
        of_token[list(tokens)] = torch.arange(len(tokens))
        within = torch.where(listed, 0.0, -math.log(max(1, len(outside))) if others else -torch.inf)
        self.register_buffer("of_token", of_token, persistent=False)
        self.register_buffer("within", within, persistent=False)
        self.register_buffer("token_of", torch.tensor(tokens), persistent=False)
        self.register_buffer("others", outside if others else outside[:0], persistent=False)

    def of(self, tokens: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The class of each token; the first for one that is in none."""
        return tokens if self.all else self.of_token[tokens]

    def chosen(self, tokens: Int[Tensor, "*shape"]) -> Chosen:
        """As classes, and how probable each token is within its class."""
        if self.all:
            return Chosen(tokens, torch.zeros((), device=tokens.device).expand(tokens.shape))
        return Chosen(self.of_token[tokens], self.within[tokens])

    def targets(self, tokens: Int[Tensor, " flat"]) -> tuple[Int[Tensor, " flat"], Float[Tensor, ""]]:
        """Targets of a loss, some `IGNORED`, as classes, and what is to be added for what they are within these."""
        if self.all:
            return tokens, torch.zeros((), device=tokens.device)
        counted = tokens != IGNORED
        classes, within = self.chosen(tokens.clamp_min(0))
        return classes.where(counted, IGNORED), -within.where(counted, 0.0).sum()

    def columns(self, used: Int[Tensor, " used"]) -> tuple[Int[Tensor, " known"], Int[Tensor, " known"]]:
        """Which of some tokens are among those that are written, by their number, and the classes of these."""
        known = torch.isin(used, torch.tensor(self.written)).nonzero()[:, 0]
        return known, self.of(used[known])

    def tokens(self, classes: Int[Tensor, " row"], rest: Float[Tensor, " row"] | None = None) -> Int[Tensor, " row"]:
        """Tokens of classes that were drawn, one of all others by a number from 0 to 1 that is left of the draw."""
        if self.all:
            return classes
        written = self.token_of[classes.clamp(max=len(self.token_of) - 1)]
        if not len(self.others) or rest is None:
            return written
        number = (rest * len(self.others)).long().clamp(0, len(self.others) - 1)
        return torch.where(classes == len(self.token_of), self.others[number], written)
