"""Which sentences of indirect object identification are held out, by hashes of their words."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from inversionview.tasks.ioi.frames import Frames

PAIRS_HELD_OUT, PHRASES_HELD_OUT = 0.15, 0.1
"""Shares of the pairs of names, and of the combinations of opening, ending, place and object."""


def pairs_held_out(frames: Frames) -> Bool[Tensor, "name name"]:
    """Which pairs of names, whatever part each plays."""
    pairs = [(i, j) for i in range(len(frames.names)) for j in range(i)]
    keys = [" and ".join(sorted((frames.names[i], frames.names[j]))) for i, j in pairs]
    held_out = torch.zeros(len(frames.names), len(frames.names), dtype=torch.bool)
    for one in _smallest(keys, PAIRS_HELD_OUT):
        held_out[pairs[one]] = held_out[pairs[one][::-1]] = True
    return held_out


def phrases_held_out(frames: Frames) -> Bool[Tensor, "frame place object"]:
    """Which combinations of opening, ending, place and object."""
    keys = [
        f"{template} {place} {thing}"
        for template in frames.templates
        for place in frames.places
        for thing in frames.objects
    ]
    held_out = torch.zeros(len(keys), dtype=torch.bool)
    held_out[_smallest(keys, PHRASES_HELD_OUT)] = True
    return held_out.view(len(frames.templates), len(frames.places), len(frames.objects))


def _smallest(keys: Sequence[str], share: float) -> list[int]:
    """The indices of this share of the keys, by their hashes; at least one."""
    order = sorted(range(len(keys)), key=lambda i: (zlib.crc32(keys[i].encode()), keys[i]))
    return order[: math.ceil(share * len(keys))]
