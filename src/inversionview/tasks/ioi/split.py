"""Which sentences of indirect object identification are held out, by hashes of their words."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from inversionview.tasks.ioi.frames import Frames
from inversionview.tasks.listed import smallest_hashes

PAIRS_HELD_OUT, PHRASES_HELD_OUT = 0.15, 0.1
"""Shares of the pairs of names, and of the combinations of opening, ending, place and object."""


def pairs_held_out(frames: Frames) -> Bool[Tensor, "name name"]:
    """Which pairs of names, whatever part each plays."""
    pairs = [(i, j) for i in range(len(frames.names)) for j in range(i)]
    keys = [" and ".join(sorted((frames.names[i], frames.names[j]))) for i, j in pairs]
    held_out = torch.zeros(len(frames.names), len(frames.names), dtype=torch.bool)
    for one in smallest_hashes(keys, PAIRS_HELD_OUT):
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
    held_out[smallest_hashes(keys, PHRASES_HELD_OUT)] = True
    return held_out.view(len(frames.templates), len(frames.places), len(frames.objects))
