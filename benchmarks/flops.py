"""Floating-point operations of matrix products, counted from shapes: of the decoder, and of probed models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    return 2 * (rows * trunk + config.n_layers * per_layer + tokens * d * config.classes)


def training_flops(config: DecoderConfig, ragged: Sequence[RaggedRows]) -> int:
    """Operations of a forward and a backward pass."""
    return (1 + BACKWARD) * forward_flops(config, ragged)


@dataclass(frozen=True)
class Transformer:
    """The shape of a probed model."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    gated: bool
    """Whether its MLPs have a third matrix, whose output multiplies that of the first."""
    vocab_size: int
    tied: bool
    """Whether embedding and unembedding are one matrix."""

    @classmethod
    def of(cls, config: Any) -> Transformer:
        """Of a configuration of GPT-2's or Llama's kind."""
        heads = config.num_attention_heads
        own = {
            "n_layers": config.num_hidden_layers, "d_model": config.hidden_size, "n_heads": heads,
            "vocab_size": config.vocab_size, "tied": config.tie_word_embeddings,
        }  # fmt: skip
        if config.model_type == "gpt2":
            width = config.hidden_size
            return cls(n_kv_heads=heads, d_head=width // heads, d_mlp=config.n_inner or 4 * width, gated=False, **own)
        return cls(
            n_kv_heads=config.num_key_value_heads, d_head=config.head_dim, d_mlp=config.intermediate_size,
            gated=True, **own,
        )  # fmt: skip

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of one layer."""
        attention = 2 * self.d_model * self.d_head * (self.n_heads + self.n_kv_heads)
        return attention + (3 if self.gated else 2) * self.d_model * self.d_mlp

    @property
    def weights(self) -> int:
        """Numbers in all matrices but position embeddings; norms and biases are left out."""
        tables = (1 if self.tied else 2) * self.vocab_size * self.d_model
        return self.n_layers * self.layer_weights + tables

    def forward_flops(self, length: int, *, layers: int | None = None, logits: int = 0) -> int:
        """Operations for one input of this many tokens, through so many layers, with logits at so many positions.

        Attention is counted over all pairs of positions, masked or not.
        """
        attention = 2 * length * length * self.n_heads * self.d_head
        of_layer = length * self.layer_weights + attention
        n_layers = self.n_layers if layers is None else layers
        return 2 * (n_layers * of_layer + logits * self.vocab_size * self.d_model)
