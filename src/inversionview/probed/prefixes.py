"""Inputs that begin alike share their activations: which prefixes a batch has, and how far to run them together.

The activation of a causal model at position t depends on the first t + 1 tokens alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import Tokens

_WORTH = 0.9
"""The largest share of the work that a shared stem may leave; above it, copying the cache costs what it saves."""


class PrefixTree(NamedTuple):
    """The distinct prefixes of a batch, of every length.

    Only neighbours in the batch are compared, which finds all of them where the rows are sorted. Where they are not,
    a prefix may come twice, and nothing else is wrong.
    """

    owners: Int[Tensor, "pos batch"]
    """For each length t + 1 and each input, the index of its prefix among those of that length."""
    rows: tuple[Int[Tensor, " prefix"], ...]
    """For each length t + 1, an input (a row of the batch) that begins with each prefix."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """The first tokens of some inputs, run once, for later forwards that only run what comes after them."""

    tokens: Tokens
    """One row an input, or a single one that all inputs begin with."""
    cache: Any
    """Keys and values as the model's library keeps them; None where the model has no such thing."""

    def fits(self, tokens: Tokens) -> int:
        """How many columns of `tokens` need no run. Raises UserError unless every input begins with its prefix."""
        batch, length = self.tokens.shape
        if batch not in (1, len(tokens)):
            raise UserError(f"the prefix is of {batch} inputs, and there are {len(tokens)}: run one for these inputs")
        if length >= tokens.shape[1] or not torch.equal(self.tokens.expand(len(tokens), -1), tokens[:, :length]):
            raise UserError("the inputs must begin with the tokens of the prefix, and go on after it")
        return length if self.cache is not None else 0

    def options(self, batch: int) -> dict[str, Any]:
        """What a forward of the rest is told; a copy, because the forward writes into it."""
        if self.cache is None:
            return {}
        cache = copy.deepcopy(self.cache)
        if len(self.tokens) != batch:
            cache.batch_repeat_interleave(batch)
        return {"past_key_values": cache, "use_cache": True}


def prefix_tree(tokens: Tokens) -> PrefixTree:
    """Find the distinct prefixes of `tokens`."""
    batch, length = tokens.shape
    starts = torch.ones(length, batch, dtype=torch.bool, device=tokens.device)
    if batch > 1:
        starts[:, 1:] = (tokens[1:] != tokens[:-1]).cummax(dim=1).values.T
    owners = starts.long().cumsum(dim=1) - 1
    return PrefixTree(owners, tuple(row.nonzero()[:, 0] for row in starts))


def stem_length(tree: PrefixTree) -> int:
    """How many first positions to run once a prefix, before the rest is run once an input; 0 where it does not pay."""
    length, batch = tree.owners.shape
    work = [len(tree.rows[n - 1]) * n + batch * (length - n) if n else batch * length for n in range(length)]
    best = min(range(length), key=work.__getitem__)
    return best if work[best] < _WORTH * work[0] else 0
