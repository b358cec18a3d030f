"""Attention patterns, also of models whose fused attention never has them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def pattern(attention: nn.Module, args: tuple[Any, ...], options: dict[str, Any], length: int) -> Tensor:
    """Attention probabilities `[batch, head, pos, pos]` of one attention module for the arguments of a forward.

    They are computed by a copy that shares the weights but has a configuration of its own, which asks for plain
    attention: to change the caller's, even for a moment, would change what other threads compute.
    """
    plain: Any = copy.copy(attention)
    plain.__dict__.pop("forward", None)  # of accelerate, where a model lies on several devices: the original's forward
    plain.config = copy.deepcopy(plain.config)
    # The mask in the arguments is of the kind that the model's own attention takes, which may be none at all.
    as_given = plain.config._attn_implementation == "eager" and options.get("attention_mask") is not None
    plain.config._attn_implementation = "eager"
    mask = options["attention_mask"] if as_given else _mask(plain, length, next(attention.parameters()))
    probabilities: Tensor = plain.forward(*args, **{**options, "attention_mask": mask})[1]
    return probabilities


def _mask(attention: Any, length: int, like: Tensor) -> Tensor:
    window = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    index = torch.arange(length, device=like.device)
    behind = index[:, None] - index
    hidden = (behind < 0) if window is None else (behind < 0) | (behind >= window)
    return torch.zeros(1, 1, length, length, dtype=like.dtype, device=like.device).masked_fill(
        hidden, torch.finfo(like.dtype).min
    )
