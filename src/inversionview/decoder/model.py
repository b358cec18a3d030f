"""The decoder: a conditional language model that proposes the inputs which could have given an activation.

Read it from the top: the configuration, the trunk that digests the activation, the attention block that sees it in
every layer, the model. After InversionView (arXiv 2405.17653), section 3 and its appendix on the decoder: the
activation, joined with a learned embedding of its site, passes through residual MLP blocks, and each layer turns the
result into an extra key and value of its attention. Ours differs where measurement said so: the trunk is as wide as the
decoder, and sees the activation through a few sines and cosines beside its plain values, without which fine differences
are learned late.

Axes: batch (activations), pos (tokens), flat (all tokens of a ragged batch, row after row), d_activation (the probed
model's width), d_model (this decoder's width), head, slot (keys and values that come from the activation).
"""

# No postponed annotations here: PyTorchModelHubMixin reads the type of `config` from the signature.
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, Int
from torch import Tensor, nn

from inversionview.decoder.loss import LOGITS_AT_ONCE, Head, masked, summed_loss
from inversionview.decoder.translation import Translation
from inversionview.errors import UserError
from inversionview.shapes import Activations, NextTokens, PerInput, PerPosition, Positions, Tokens
from inversionview.tasks import Constrained, Task, get_task


@dataclass
class DecoderConfig:
    """What a decoder is and what it belongs to."""

    sites: tuple[str, ...]
    """Short names of the sites it was trained on; a site's index here is its embedding's."""
    d_activation: int
    """Width of the activations."""
    vocab_size: int
    max_length: int
    """Positions of the longest input, begin and end included."""
    begin: int
    end: int
    pad: int
    task: str = ""
    convention: str = "raw"
    """Convention of the activations; another one is refused."""
    fingerprint: str = ""
    """Of the probed model whose activations it was trained on; another one is refused."""
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 256
    trunk_blocks: int = 4
    trunk_width: int = 512
    """Hidden width of a trunk block; it runs once an activation, so its cost is small beside that of the tokens."""
    n_frequencies: int = 3
    """Sines and cosines of each normalised activation value, at frequencies 1.5, 3, 6, ..."""

    constrained: bool = False
    """Only tokens with which an input of the task can go on are possible, by the task's own `next_tokens`."""

    def __post_init__(self) -> None:
        self.sites = tuple(self.sites)


class RaggedRows(NamedTuple):
    """`rows` consecutive inputs of a batch, cut to their first `length` tokens."""

    rows: int
    length: int


STEP_BYTES = 2**31
"""Memory of what sampling and scoring run together."""
LOGIT_BYTES = 32
"""Memory of one logit in a step of sampling: itself, its probability, and the cumulative ones in fp64."""

Cache = list[tuple[Float[Tensor, "_ head slot_pos d_head"], Float[Tensor, "_ head slot_pos d_head"]]]


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply `layer` in the dtype of `x`; the weights themselves stay in fp32, for the optimiser."""
    return F.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


class Norm(nn.Module):
    """LayerNorm without bias, computed in the dtype of its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype))


class MLP(nn.Module):
    """Residual MLP; its last matrix starts at zero, so that a new block changes nothing."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        # The exact form: on CPUs, in bf16, the tanh approximation takes more than twice its time.
        return x + linear(self.down, F.gelu(linear(self.up, self.norm(x))))


class Trunk(nn.Module):
    """Turns (activation, site) into the condition [batch, d_model] that every layer reads."""

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        n_sites, width = len(config.sites), config.d_activation
        self.register_buffer("mean", torch.zeros(n_sites, width))
        self.register_buffer("scale", torch.ones(n_sites))
        self.register_buffer("frequencies", 1.5 * 2.0 ** torch.arange(config.n_frequencies), persistent=False)
        self.site_embedding = nn.Embedding(n_sites, config.d_model)
        self.input = nn.Linear(width * (1 + 2 * config.n_frequencies), config.d_model)
        self.blocks = nn.Sequential(*(MLP(config.d_model, config.trunk_width) for _ in range(config.trunk_blocks)))
        nn.init.normal_(self.site_embedding.weight, std=0.5)

    def forward(
        self, activations: Float[Tensor, "batch d_activation"], site_index: Positions, dtype: torch.dtype
    ) -> Float[Tensor, "batch d_model"]:
        # One scale a site, not one a dimension: the distance that decides membership has one scale too.
        z = (activations.float() - self.mean[site_index]) / self.scale[site_index, None]
        waves = (z[:, :, None] * self.frequencies).flatten(1)
        features = torch.cat([z, waves.sin(), waves.cos()], dim=1)
        x = linear(self.input, features.to(dtype)) + self.site_embedding(site_index).to(dtype)
        return self.blocks(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Causal self-attention in which every position also sees one slot made from the condition."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        d = config.d_model
        self.norm, self.condition_norm = Norm(d), Norm(d)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.slot = nn.Linear(d, 2 * d, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        nn.init.zeros_(self.output.weight)

    def slots(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value [batch, head, 1, d_head] that the condition adds."""
        key, value = linear(self.slot, self.condition_norm(condition)).chunk(2, dim=-1)
        shape = (len(condition), self.n_heads, 1, -1)
        return key.view(shape), value.view(shape)

    def forward(self, x: Float[Tensor, "flat d_model"], condition: Tensor, ragged: Sequence[RaggedRows]) -> Tensor:
        keys, values = self.slots(condition)
        flat = torch.split(linear(self.qkv, self.norm(x)), [g.rows * g.length for g in ragged])
        rows = [g.rows for g in ragged]
        mixed = [
            self._mix_group(group, length, key, value)
            for group, (_, length), key, value in zip(
                flat, ragged, torch.split(keys, rows), torch.split(values, rows), strict=True
            )
        ]
        return x + linear(self.output, torch.cat(mixed))

    def _mix_group(self, qkv: Tensor, length: int, slot_key: Tensor, slot_value: Tensor) -> Tensor:
        rows = len(slot_key)
        q, k, v = qkv.view(rows, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mask = torch.full((length, length), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        mask = F.pad(mask, (1, 0))
        mixed = attend(q, torch.cat([slot_key, k], dim=2), torch.cat([slot_value, v], dim=2), mask)
        return mixed.transpose(1, 2).reshape(rows * length, -1)

    def step(self, x: Float[Tensor, "batch d_model"], keys: Tensor, values: Tensor, index: int) -> Tensor:
        """One position; writes its key and value at `index` of the cache and attends to all up to it."""
        q, k, v = linear(self.qkv, self.norm(x)).view(len(x), 3, self.n_heads, 1, -1).unbind(1)
        keys[:, :, index : index + 1], values[:, :, index : index + 1] = k, v
        mixed = attend(q, keys[:, :, : index + 1], values[:, :, : index + 1], None)
        return x + linear(self.output, mixed.reshape(len(x), -1))


FUSED_FROM = 256
"""Keys beyond which fused attention is used on a CPU: below, in bf16, its backward pass is the slower one."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention, written out where the fused one is slow: for short sequences on a CPU."""
    if q.device.type != "cpu" or k.shape[2] > FUSED_FROM:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    return weights @ v


class Block(nn.Module):
    """Attention, then MLP."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = MLP(config.d_model, 4 * config.d_model)

    def forward(self, x: Tensor, condition: Tensor, ragged: Sequence[RaggedRows]) -> Tensor:
        return self.mlp(self.attention(x, condition, ragged))  # type: ignore[no-any-return]


class Decoder(nn.Module, PyTorchModelHubMixin):
    """`q(x | z, s)`: next-token logits of an input, given an activation and the index of its site in `config.sites`."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        """Dtype of the activations inside; training sets the machine's fast one, sampling keeps fp32."""
        self.translation: Translation | None = None
        """To the tokens of `body`, where these are not the task's."""
        self._known_next: Callable[[Tokens], NextTokens] | None = None
        self._make_layers(config)

    def _make_layers(self, config: DecoderConfig) -> None:
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.max_length, config.d_model)
        self.trunk = Trunk(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = Norm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        for embedding in (self.token_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=0.02)

    @property
    def body(self) -> "Decoder":
        """What samples and scores, in its own tokens: the decoder itself, unless it has a `translation`."""
        return self

    def constrain(self, task: Task) -> None:
        """Let only inputs of the task be possible. Raises `UserError` for a task that cannot say what comes next."""
        if not isinstance(task, Constrained):
            raise UserError(f"task {task.name} does not say which tokens can come next: train with constrained off")
        self._known_next = task.next_tokens

    @property
    def _next_tokens(self) -> Callable[[Tokens], NextTokens] | None:
        """None where everything is possible. A task that is made of files must have been given to `constrain`."""
        if self.config.constrained and self._known_next is None:
            self.constrain(get_task(self.config.task))
        return self._known_next

    def set_normalisation(self, mean: Float[Tensor, "site d_activation"], scale: Float[Tensor, " site"]) -> None:
        """Per-site mean and root mean square deviation of the activations, by which they are normalised."""
        self.trunk.mean.copy_(mean)
        self.trunk.scale.copy_(scale)

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The weight matrices of trunk and blocks, whose updates are orthogonalised in training."""
        inner = [*self.blocks.parameters(), *self.trunk.blocks.parameters(), *self.trunk.input.parameters()]
        return [p for p in inner if p.ndim == 2]

    def forward(
        self,
        tokens: Tokens,
        activations: Activations,
        site_index: Positions,
        ragged: Sequence[RaggedRows] | None = None,
        targets: Int[Tensor, " flat"] | None = None,
    ) -> Float[Tensor, "flat vocab"] | Float[Tensor, ""]:
        """Logits (fp32) for the token after each of `tokens`, row after row.

        With `ragged`, rows are cut as it says, in the order of the batch; the logits of what was cut are not computed.
        With `targets`, the sum of their negative log-probabilities instead, for which few logits are held at once.
        """
        groups = [RaggedRows(*tokens.shape)] if ragged is None else ragged
        starts = [sum(g.rows for g in groups[:i]) for i in range(len(groups))]
        cut = [tokens[s : s + g.rows, : g.length] for s, g in zip(starts, groups, strict=True)]
        hidden = self.hidden(cut, self.trunk(activations, site_index, self.compute_dtype))
        next_tokens = self._next_tokens
        possible = None if next_tokens is None else torch.cat([next_tokens(part).flatten(0, 1) for part in cut])
        if targets is None:
            return masked(self.unembed(hidden), possible)
        return summed_loss(self.unembedding(), hidden.to(self.compute_dtype), targets, possible)

    def hidden(self, cut: Sequence[Tensor], condition: Tensor) -> Float[Tensor, "flat d_model"]:
        """The last layer's states, normalised, at each token of each group of rows; `condition` has all their rows."""
        dtype, groups = self.compute_dtype, [RaggedRows(*part.shape) for part in cut]
        index = torch.cat([part.reshape(-1) for part in cut])
        place = torch.cat([torch.arange(g.length, device=index.device).repeat(g.rows) for g in groups])
        # Looked up, then cast: a cast of the whole of a large table costs more than all the layers.
        x = self.token_embedding(index).to(dtype) + self.position_embedding(place).to(dtype)
        for block in self.blocks:
            x = block(x, condition, groups)
        normalised: Tensor = self.norm(x)
        return normalised

    def unembed(self, hidden: Float[Tensor, "flat d_model"]) -> Float[Tensor, "flat vocab"]:
        """Logits (fp32) of normalised states, before any constraint."""
        return self.unembedding().logits(hidden)

    def unembedding(self) -> Head:
        """What makes logits of normalised states."""
        return Head(self.head.weight)

    def token_log_probs(self, tokens: Tokens, activations: Activations, site_index: Positions) -> PerPosition:
        """log q of each token given those before it [batch, pos], in nats; 0 at begin and after the first end token."""
        batch, length = tokens.shape
        rows = max(1, LOGITS_AT_ONCE // (length * self.config.vocab_size))
        if batch > rows:
            parts = zip(*(torch.split(part, rows) for part in (tokens, activations, site_index)), strict=True)
            return torch.cat([self.token_log_probs(*part) for part in parts])
        logits = self(tokens[:, :-1], activations, site_index).view(batch, length - 1, -1)
        picked = logits.log_softmax(-1).gather(2, tokens[:, 1:, None])[:, :, 0]
        return F.pad(picked * until_end(tokens, self.config.end)[:, 1:], (1, 0))

    def log_prob(self, tokens: Tokens, activations: Activations, site_index: Positions) -> PerInput:
        """log q(x | z, s) [batch] at temperature 1, in nats."""
        return self.token_log_probs(tokens, activations, site_index).sum(dim=1)

    def start_cache(self, activations: Activations, site_index: Positions, copies: int = 1) -> Any:
        """What `step` and `select` take: keys and values with room for all tokens behind the condition's slot.

        `copies` rows an activation.
        """
        condition = self.trunk(activations, site_index, self.compute_dtype)
        cache: Cache = []
        for block in self.blocks:
            slots = block.attention.slots(condition)  # type: ignore[operator,union-attr]
            room = [torch.zeros_like(s).expand(-1, -1, self.config.max_length, -1) for s in slots]
            pair = [torch.cat([s, r], dim=2).repeat_interleave(copies, dim=0) for s, r in zip(slots, room, strict=True)]
            cache.append((pair[0], pair[1]))
        return cache

    def step(self, tokens: Tokens, cache: Any) -> Float[Tensor, "batch vocab"]:
        """Logits (fp32) after `tokens`, all but the last of which are in the cache; it is written in place."""
        dtype, token, position = self.compute_dtype, tokens[:, -1], tokens.shape[1] - 1
        x = self.token_embedding(token).to(dtype) + self.position_embedding.weight[position].to(dtype)
        for block, (keys, values) in zip(self.blocks, cache, strict=True):
            x = block.mlp(block.attention.step(x, keys, values, position + 1))  # type: ignore[operator,union-attr]
        return self.next_logits(self.norm(x), tokens)

    def next_logits(self, hidden: Float[Tensor, "batch d_model"], tokens: Tokens) -> Float[Tensor, "batch vocab"]:
        """Logits (fp32) after `tokens`, of the normalised states at the last of them."""
        known = self._next_tokens
        return masked(self.unembed(hidden), None if known is None else known(tokens)[:, -1])

    def select(self, cache: Any, rows: Int[Tensor, " chosen"]) -> Any:
        """The cache of these of its rows; one may be asked for more than once."""
        return [(keys[rows], values[rows]) for keys, values in cache]

    @property
    def rows_together(self) -> int:
        """Inputs that sampling and scoring may run together, by the memory of their cache and of their logits."""
        slots = self.config.max_length + 1
        of_logits = LOGIT_BYTES * self.config.vocab_size
        return max(1, STEP_BYTES // (4 * slots * self.cached_numbers() + of_logits))

    def cached_numbers(self) -> int:
        """Numbers that a cache holds for each position of a row."""
        return 2 * self.config.n_layers * self.config.d_model


def until_end(tokens: Tokens, end: int) -> Int[Tensor, "batch pos"]:
    """1 up to and including the first end token of each row, then 0."""
    ends = (tokens == end).long()
    ends[:, 0] = 0  # many tokenizers have one token for begin and end
    return (ends.cumsum(dim=1) - ends == 0).long()
