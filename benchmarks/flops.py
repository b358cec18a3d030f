"""Floating-point operations of the decoder's matrix products, counted from shapes."""

from __future__ import annotations

from collections.abc import Sequence

from inversionview.decoder.model import DecoderConfig, RaggedRows

BACKWARD = 2
"""A product's backward pass is two products of the same size: for its input and for its weight."""


def forward_flops(config: DecoderConfig, ragged: Sequence[RaggedRows]) -> int:
    """Operations (a multiplication and an addition are two) of one forward pass over a ragged batch.

    The trunk runs once an activation, the blocks and the head once a token that is really run, attention over all that
    it multiplies: each position with every position of its group and with the slot, masked or not.
    """
    d, rows = config.d_model, sum(group.rows for group in ragged)
    tokens = sum(group.rows * group.length for group in ragged)
    trunk = config.d_activation * (1 + 2 * config.n_frequencies) * d + config.trunk_blocks * 2 * d * config.trunk_width
    slots = d * 2 * d
    linear = d * 3 * d + d * d + 2 * d * 4 * d
    attention = sum(2 * group.rows * group.length * (group.length + 1) * d for group in ragged)
    per_layer = rows * slots + tokens * linear + attention
    return 2 * (rows * trunk + config.n_layers * per_layer + tokens * d * config.vocab_size)


def training_flops(config: DecoderConfig, ragged: Sequence[RaggedRows]) -> int:
    """Operations of a forward and a backward pass."""
    return (1 + BACKWARD) * forward_flops(config, ragged)
