"""Which inputs of a batch are run together where some positions of each are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.shapes import Positions

NUMBERS_AT_ONCE = {"cpu": 2**18, "cuda": 2**26}
"""Of a residual stream: on a CPU so few that what a layer makes of them stays in its cache, on a GPU enough to fill it,
and where the batch is large not so many that they fill its memory."""
FEWEST_TOKENS = 256
"""Run together at least: with fewer, reading a layer's weights takes as long as multiplying by them."""


class Together(NamedTuple):
    """Some rows of a batch, and how many of their first tokens are run."""

    rows: Int[Tensor, " some"]
    length: int


def tokens_at_once(d_model: int, device: torch.device) -> int:
    """How many tokens of a model of this width are run together."""
    return max(FEWEST_TOKENS, NUMBERS_AT_ONCE.get(device.type, NUMBERS_AT_ONCE["cuda"]) // d_model)


def run_together(positions: Positions, most: int) -> Iterator[Together]:
    """All rows, in parts of at most `most` tokens (or of one row), each cut behind the last position asked for.

    A batch that fits stays together, in its order; a larger one is parted by how far its rows go.
    """
    batch, longest = len(positions), int(positions.max()) + 1
    if batch * longest <= most:
        yield Together(torch.arange(batch, device=positions.device), longest)
        return
    order = positions.argsort(descending=True, stable=True)
    start = 0
    while start < batch:
        length = int(positions[order[start]]) + 1
        rows = order[start : start + max(1, most // length)]
        yield Together(rows, length)
        start += len(rows)


def run_by_length(lengths: Int[Tensor, " batch"], most: int, most_rows: int) -> Iterator[Together]:
    """All rows, the longest first, in parts of at most `most` tokens and `most_rows` rows (or of one row).

    The rows of a part have one length, so that no padding is run; shorter ones only fill up a part that would be so
    small that reading the weights takes longer than running them.
    """
    order = lengths.argsort(descending=True, stable=True)
    lengths = lengths[order]
    start = 0
    while start < len(order):
        length = max(1, int(lengths[start]))
        fits = max(1, min(most // length, most_rows))
        alike = int((lengths[start : start + fits] == length).sum())
        count = min(fits, max(alike, FEWEST_TOKENS // length))
        yield Together(order[start : start + count], length)
        start += count
