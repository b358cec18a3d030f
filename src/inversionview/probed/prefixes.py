"""Inputs that begin alike share their activations: which prefixes a batch has, and how far to run them together.

The activation of a causal model at position t depends on the first t + 1 tokens alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

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
