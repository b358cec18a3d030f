"""All beginnings of a finite set of inputs, as a tree of arrays: which input a row is, and what can come next."""

from __future__ import annotations

import torch
from jaxtyping import Int

from inversionview.shapes import NextTokens, Positions, Tokens
from inversionview.tasks.positions import after_end, first_end

Nodes = Int[torch.Tensor, "batch pos"]


class PrefixTree:
    """The tree over distinct rows [input, pos]: begin, tokens, end, padding.

    A node is a beginning, named by its number; what is no beginning of any input is -1. An edge is the key
    `node * vocab + token`, and all edges are sorted by it, so that a step is a binary search.
    """

    def __init__(self, rows: Tokens, *, used: Int[torch.Tensor, " used"], vocab_size: int, end: int, pad: int) -> None:
        """`used`: the tokens, sorted, of which it is said whether they can come next."""
        self.vocab_size, self.end, self.pad = vocab_size, end, pad
        self.begin = int(rows[0, 0])
        behind = after_end(rows, end)
        node, total = torch.zeros(len(rows), dtype=torch.long), 1
        keys, targets = [], []
        for position in range(1, rows.shape[1]):
            alive = (~behind[:, position]).nonzero()[:, 0]
            if not len(alive):
                break
            edges, child = torch.unique(node[alive] * vocab_size + rows[alive, position], return_inverse=True)
            keys.append(edges)
            targets.append(torch.arange(total, total + len(edges)))
            node[alive] = total + child
            total += len(edges)
        self._here: dict[torch.device, tuple[torch.Tensor, ...]] = {}
        of_leaf = torch.full((total,), -1)
        of_leaf[node] = torch.arange(len(rows))
        key, order = torch.cat(keys).sort()
        # Edges of one node lie side by side: where they start is all that is needed to list its children.
        starts = torch.searchsorted(key, torch.arange(total + 1) * vocab_size)
        self._cpu = (key, torch.cat(targets)[order], starts, of_leaf, torch.searchsorted(used, key % vocab_size))
        self._used = len(used)

    def nodes(self, tokens: Tokens) -> Nodes:
        """The node [batch, pos] of what stands up to each position, -1 where that is no beginning of an input."""
        key, target, *_ = self._on(tokens.device)
        node = torch.where(tokens[:, 0] == self.begin, 0, -1)
        nodes = [node]
        for token in tokens[:, 1:].unbind(1):
            wanted = node * self.vocab_size + token
            at = torch.searchsorted(key, wanted).clamp_max(len(key) - 1)
            node = torch.where((node >= 0) & (key[at] == wanted), target[at], -1)
            nodes.append(node)
        return torch.stack(nodes, dim=1)

    def index(self, tokens: Tokens) -> Positions:
        """Which of the inputs each row is, -1 where it is none; behind its end there must be padding only."""
        of_leaf = self._on(tokens.device)[3]
        at = first_end(tokens, self.end)
        node = self.nodes(tokens).gather(1, at[:, None])[:, 0]
        padded = ((tokens == self.pad) | ~after_end(tokens, self.end)).all(dim=1)
        return torch.where((node > 0) & padded, of_leaf[node.clamp_min(0)], -1)

    def next_tokens(self, tokens: Tokens, start: int = 0) -> NextTokens:
        """The used tokens with which what stands up to each position can go on; all where nothing can."""
        _, _, starts, _, column = self._on(tokens.device)
        node = self.nodes(tokens)[:, start:].flatten()
        parent = node.clamp_min(0)
        first = starts[parent]
        count = torch.where(node >= 0, starts[parent + 1] - first, 0)
        row = torch.arange(len(node), device=tokens.device).repeat_interleave(count)
        within = torch.arange(len(row), device=tokens.device) - (count.cumsum(0) - count)[row]
        possible = (count == 0)[:, None].expand(-1, self._used).clone()
        possible[row, column[first[row] + within]] = True
        return possible.view(*tokens[:, start:].shape, self._used)

    def _on(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        if device not in self._here:
            self._here[device] = tuple(tensor.to(device) for tensor in self._cpu)
        return self._here[device]
