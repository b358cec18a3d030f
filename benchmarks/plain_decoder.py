"""A decoder of the paper's shape and size (InversionView, arXiv 2405.17653), written plainly, to compare ours with.

The activation is joined with a learnt embedding of its site, as wide as itself; six residual MLP blocks of that width
follow; each of two layers projects and normalises the result into one more slot, from which its own maps make a key and
a value that every position attends to. What the paper does not tell is as in GPT-2, without dropout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from inversionview.shapes import Positions, Tokens

LAYERS, HEADS, WIDTH, TRUNK_BLOCKS = 2, 4, 256, 6


class ResidualMLP(nn.Module):
    """LayerNorm, then a hidden layer four times as wide, added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.down(F.gelu(self.up(self.norm(x)), approximate="tanh"))
        return out


class Layer(nn.Module):
    """Causal attention with one slot more, then an MLP."""

    def __init__(self, d_condition: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_slot, self.slot_norm = nn.Linear(d_condition, width), nn.LayerNorm(width)
        self.norm, self.qkv, self.output = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = ResidualMLP(width)

    def forward(self, x: Float[Tensor, "batch pos width"], condition: Float[Tensor, "batch d"]) -> Tensor:
        slot = self.slot_norm(self.to_slot(condition))[:, None]
        seen = torch.cat([slot, self.norm(x)], dim=1)
        batch, slots, width = seen.shape
        q, k, v = self.qkv(seen).view(batch, slots, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q[:, :, 1:] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        later = torch.ones(slots - 1, slots, dtype=torch.bool).triu(2)
        mixed = scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ v
        out: Tensor = self.mlp(x + self.output(mixed.transpose(1, 2).reshape(batch, slots - 1, width)))
        return out


class PlainDecoder(nn.Module):
    """Logits of the next token, given an activation and the index of its site."""

    def __init__(
        self, d_activation: int, n_sites: int, vocab_size: int, max_length: int, *, begin: int, end: int, pad: int,
        width: int = WIDTH, heads: int = HEADS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.max_length, self.begin, self.end, self.pad = max_length, begin, end, pad
        self.site_embedding = nn.Embedding(n_sites, d_activation)
        self.trunk = nn.Sequential(*(ResidualMLP(2 * d_activation) for _ in range(TRUNK_BLOCKS)))
        self.tokens, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(max_length, width)
        self.layers = nn.ModuleList(Layer(2 * d_activation, width, heads) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab_size, bias=False)
        for embedding in (self.site_embedding, self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(
        self, tokens: Tokens, activations: Float[Tensor, "batch d_activation"], site_index: Positions
    ) -> Float[Tensor, "batch pos vocab"]:
        condition = self.trunk(torch.cat([activations, self.site_embedding(site_index)], dim=1))
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, condition)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def draw(self, activations: Tensor, site_index: Positions, generator: Generator) -> Int[Tensor, "batch pos"]:
        """One sample for each activation at temperature 1."""
        tokens = torch.full((len(activations), 1), self.begin)
        while tokens.shape[1] < self.max_length:
            chances = self(tokens, activations, site_index)[:, -1].softmax(dim=-1)
            drawn = torch.multinomial(chances, 1, generator=generator)
            ended = (tokens == self.end).any(dim=1, keepdim=True)
            tokens = torch.cat([tokens, drawn.masked_fill(ended, self.pad)], dim=1)
        return tokens


def mean_loss(logits: Float[Tensor, "batch pos vocab"], tokens: Tokens, end: int) -> Tensor:
    """Mean negative log-probability of the tokens after the first, each input up to its end."""
    ended = (tokens[:, :-1] == end).cumsum(dim=1).bool()
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:].masked_fill(ended, -100))
