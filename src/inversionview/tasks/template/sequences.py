"""Distinct sequences of symbols as a tree of arrays, walked one symbol at a time for many rows at once."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

Symbols = Int[Tensor, "sequence step"]
Nodes = Int[Tensor, " batch"]


class SequenceTree:
    """The tree over sequences [sequence, step] that are filled up with -1; node 0 is where all begin.

    An edge is the key `node * symbols + symbol`, and all edges are sorted by it, so that a step is a binary search.
    """

    def __init__(self, sequences: Symbols) -> None:
        self.symbols = int(sequences.max()) + 1 if sequences.numel() else 1
        node = torch.zeros(len(sequences), dtype=torch.long)
        total, keys, targets = 1, [torch.zeros(0, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
        for symbol in sequences.unbind(1):
            alive = (symbol >= 0).nonzero()[:, 0]
            edges, child = torch.unique(node[alive] * self.symbols + symbol[alive], return_inverse=True)
            keys.append(edges)
            targets.append(torch.arange(total, total + len(edges)))
            node[alive] = total + child
            total += len(edges)
        self._keys, order = torch.cat(keys).sort()
        self._targets = torch.cat(targets)[order]
        self._starts = torch.searchsorted(self._keys, torch.arange(total + 1) * self.symbols)
        self.ends = torch.full((total,), -1)
        """Which sequence ends at each node; -1 where none does."""
        self.ends[node] = torch.arange(len(sequences))
        self.leaf = node
        """The node at which each sequence ends."""

    def step(self, nodes: Nodes, symbols: Nodes) -> Nodes:
        """The nodes behind these symbols, -1 where none is."""
        wanted = nodes * self.symbols + symbols
        if not len(self._keys):
            return torch.full_like(symbols, -1)
        at = torch.searchsorted(self._keys, wanted).clamp_max(len(self._keys) - 1)
        fits = (self._keys[at] == wanted) & (nodes >= 0) & (symbols >= 0) & (symbols < self.symbols)
        return torch.where(fits, self._targets[at], -1)

    def children(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Pairs of a row of `nodes`, by its number, and a symbol that can follow there."""
        first = self._starts[nodes]
        count = self._starts[nodes + 1] - first
        row = torch.arange(len(nodes)).repeat_interleave(count)
        within = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
        return row, self._keys[first[row] + within] % self.symbols
