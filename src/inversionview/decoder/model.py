"""The decoder: a conditional language model that proposes the inputs which could have given an activation.

Read it from the top: the configuration, the trunk that digests the activation, the attention block that sees it in
every layer, the body made of such blocks, the decoder, which is a trunk and a body. A language model can be the body
too, see `pretrained.py`. After InversionView (arXiv 2405.17653), section 3 and its appendix on the decoder: the
activation, joined with a learned embedding of its site, passes through residual MLP blocks, and each layer turns the
result into an extra key and value of its attention. Ours differs where measurement said so: the trunk is as wide as the
decoder, and sees the activation through a few sines and cosines beside its plain values, without which fine differences
are learned late.

Axes: batch (activations), pos (tokens), flat (all tokens of a ragged batch, row after row), d_activation (the width of
the widest site), d_model (this decoder's width), head, slot (keys and values that come from the activation), class (the
tokens it chooses among, and perhaps all others together, see `classes.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from inversionview.decoder.classes import Classes
from inversionview.decoder.loss import LOGITS_AT_ONCE, Head, masked, summed_loss
from inversionview.decoder.tokens import SameTokens, TokenAdapter
from inversionview.errors import UserError
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.shapes import NextTokens, PerInput, PerPosition, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks import Constrained, Task


@dataclass
class DecoderConfig:
    """What a decoder is and what it belongs to."""

    sites: tuple[str, ...]
    """Short names of the sites it was trained on; a site's index here is its embedding's."""
    d_activation: int
    """How many numbers the trunk reads of an activation, of the widest site."""
    vocab_size: int
    """Of the tokens that the decoder writes: the task's, or with another tokenizer its own; so are those below."""
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
    """Sines and cosines of each normalised activation value, at frequencies 1.5, 3, 6, ..., or of its rank."""
    n_quantiles: int = 0
    """Quantiles of each number of an activation, between which its rank is interpolated; 0: ranks are not used."""
    own_inputs: bool = False
    """Each site has an input matrix of its own; otherwise all have one, and differ by their embedding."""
    constrained: bool = False
    """Only tokens with which an input of the task can go on are possible, by the task's own `next_tokens`."""
    widths: tuple[int, ...] = ()
    """How many numbers it reads of each site; empty where it reads `d_activation` of all."""
    coordinates: bool = False
    """It reads activations in coordinates of their site, of a head d_head numbers and not d_model, in which all
    distances are the same; see `probed.coordinates`."""
    tokens: tuple[int, ...] = ()
    """The tokens that it writes, sorted; empty: all of `vocab_size`."""
    others: bool = False
    """One class more, behind those, for all other tokens: each of them is equally probable within it."""

    def __post_init__(self) -> None:
        self.sites, self.widths, self.tokens = tuple(self.sites), tuple(self.widths), tuple(self.tokens)

    @property
    def classes(self) -> int:
        """Rows of its embedding and of its head."""
        return (len(self.tokens) or self.vocab_size) + self.others

    def width(self, site_index: int) -> int:
        """How many numbers the trunk reads of one site."""
        return self.widths[site_index] if self.widths else self.d_activation


class DecoderSizes(TypedDict, total=False):
    """The fields of a `DecoderConfig` that are free to choose."""

    n_layers: int
    n_heads: int
    d_model: int
    trunk_blocks: int
    trunk_width: int
    n_frequencies: int
    n_quantiles: int
    own_inputs: bool
    constrained: bool


class RaggedRows(NamedTuple):
    """`rows` consecutive inputs of a batch, cut to their first `length` tokens."""

    rows: int
    length: int


STEP_BYTES = 2**31
"""Memory of what sampling and scoring run together."""
LOGIT_BYTES = 32
"""Memory of one logit in a step of sampling: itself, its probability, and the cumulative ones in fp64."""

_BEYOND = 4
"""Ranks of numbers beyond all quantiles go on so many steps at most."""
_LEAST_APART = 1e-12
"""Between two quantiles: large numbers that are nearly the same may round to one."""

Activations = Float[Tensor, "batch width"]
"""As the probed model gives them. Of sites narrower than the widest, what stands beyond is not looked at."""
NextClasses = Bool[Tensor, "batch asked class"]
AsRead = Float[Tensor, "batch d_activation"]
"""What the trunk reads of them, as `Decoder.coordinates` gives it."""
Condition = Float[Tensor, "batch d_model"]
KeysValues = list[tuple[Float[Tensor, "_ head slot_pos d_head"], Float[Tensor, "_ head slot_pos d_head"]]]
Cache = Any
"""What a body remembers of the tokens so far; nobody else looks into it."""
_Kind = TypeVar("_Kind", bound=nn.Module)


def each(modules: nn.ModuleList, kind: type[_Kind]) -> list[_Kind]:
    """The modules of a list, which are all of one kind."""
    return [module for module in modules if isinstance(module, kind)]


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


class SiteLinear(nn.Module):
    """A linear map for each site: numbers of two heads mean nothing in common."""

    def __init__(self, n_sites: int, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_sites, out, width) * width**-0.5)

    def forward(self, x: Float[Tensor, "batch width"], site_index: Positions) -> Float[Tensor, "batch out"]:
        order = site_index.argsort(stable=True)
        of_sites = torch.split(x[order], torch.bincount(site_index, minlength=len(self.weight)).tolist())
        made = [F.linear(part, weight) for part, weight in zip(of_sites, self.weight.unbind(0), strict=True)]
        return torch.cat(made)[order.argsort()]


class Trunk(nn.Module):
    """Turns (activation, site) into the condition [batch, d_model] that every layer reads."""

    mean: Tensor
    scale: Tensor
    quantiles: Tensor
    frequencies: Tensor
    inside: Tensor | None

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        n_sites, width = len(config.sites), config.d_activation
        self.register_buffer("mean", torch.zeros(n_sites, width))
        self.register_buffer("scale", torch.ones(n_sites))
        if config.n_quantiles:
            quantiles = torch.linspace(-1, 1, config.n_quantiles).repeat(n_sites, width, 1)
            self.register_buffer("quantiles", quantiles)
        self.register_buffer("frequencies", 1.5 * 2.0 ** torch.arange(config.n_frequencies), persistent=False)
        inside = torch.arange(width) < torch.tensor(config.widths)[:, None] if config.widths else None
        self.register_buffer("inside", inside, persistent=False)
        self.site_embedding = nn.Embedding(n_sites, config.d_model)
        self.ranked = config.n_quantiles > 0
        features = width * (1 + self.ranked + 2 * config.n_frequencies)
        of_sites = config.own_inputs
        self.input = SiteLinear(n_sites, features, config.d_model) if of_sites else nn.Linear(features, config.d_model)
        self.blocks = nn.Sequential(*(MLP(config.d_model, config.trunk_width) for _ in range(config.trunk_blocks)))
        nn.init.normal_(self.site_embedding.weight, std=0.5)

    def forward(self, activations: AsRead, site_index: Positions, dtype: torch.dtype) -> Condition:
        padded = F.pad(activations.float(), (0, self.mean.shape[1] - activations.shape[1]))
        # One scale a site, not one a dimension: the distance that decides membership has one scale too.
        z = (padded - self.mean[site_index]) / self.scale[site_index, None]
        if self.inside is not None:
            z = z * self.inside[site_index]
        plain = torch.cat([z, self._ranks(padded, site_index)], dim=1) if self.ranked else z
        waves = (plain[:, -z.shape[1] :, None] * self.frequencies).flatten(1)
        features = torch.cat([plain, waves.sin(), waves.cos()], dim=1)
        own = isinstance(self.input, SiteLinear)
        # In fp32: in bf16, what differs in its third digit only would be the same here.
        x = self.input(features, site_index) if own else self.input(features)
        condition: Tensor = self.blocks((x + self.site_embedding(site_index)).to(dtype))
        return condition

    def _ranks(self, activations: AsRead, site_index: Positions) -> AsRead:
        """Where each number is among those of its site, from -1 to 1, and somewhat beyond.

        Half of a head's values may lie in a thousandth of their range, where it looks at the begin token: by rank, what
        differs there differs as much as anything else.
        """
        quantiles = self.quantiles[site_index]
        above = torch.searchsorted(quantiles, activations[:, :, None]).clamp(1, quantiles.shape[2] - 1)
        low, high = quantiles.gather(2, above - 1)[..., 0], quantiles.gather(2, above)[..., 0]
        between = (activations - low) / (high - low).clamp_min(_LEAST_APART)
        rank = above[..., 0] - 1 + between.clamp(-_BEYOND, 1 + _BEYOND)
        ranks = 2 * rank / (quantiles.shape[2] - 1) - 1
        return ranks if self.inside is None else ranks * self.inside[site_index]

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The weight matrices, whose updates are orthogonalised in training."""
        return [p for p in [*self.blocks.parameters(), *self.input.parameters()] if p.ndim == 2]


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
        out: Tensor = self.mlp(self.attention(x, condition, ragged))
        return out

    def step(self, x: Float[Tensor, "batch d_model"], keys: Tensor, values: Tensor, index: int) -> Tensor:
        """As `Attention.step`, then the MLP."""
        out: Tensor = self.mlp(self.attention.step(x, keys, values, index))
        return out


class Body(Protocol):
    """A causal language model, a module, in which every token also sees the condition; it computes in its dtype."""

    def hidden(self, parts: Sequence[Tensor], condition: Condition) -> Float[Tensor, "flat d_body"]:
        """The last layer's states, normalised, at each token of each group of rows; `condition` has all their rows."""
        ...

    def start_cache(self, condition: Condition) -> Cache:
        """What `step` and `select` take, with no token yet."""
        ...

    def step(self, tokens: Tokens, cache: Cache, dtype: torch.dtype) -> Float[Tensor, "batch d_body"]:
        """The state at the last of `tokens`, all others of which are in the cache; it is written in place."""
        ...

    def select(self, cache: Cache, rows: Int[Tensor, " chosen"]) -> Cache:
        """The cache of these of its rows, perhaps in place; one may be asked for more than once."""
        ...

    def unembedding(self) -> Head:
        """What makes logits of the states."""
        ...

    def cached_numbers(self) -> int:
        """Numbers that a cache holds for each position of a row."""
        ...

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The weight matrices whose updates are orthogonalised in training."""
        ...


class OwnLayers(nn.Module):
    """The body, as `Body` says, of a decoder that starts from nothing: a small transformer."""

    def __init__(self, config: DecoderConfig, tokens: nn.Embedding, positions: nn.Embedding) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.classes = Classes(config.vocab_size, config.tokens, others=config.others)
        self.token_embedding, self.position_embedding = tokens, positions
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = Norm(config.d_model)
        self.head = nn.Linear(config.d_model, config.classes, bias=False)
        for embedding in (tokens, positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def hidden(self, parts: Sequence[Tensor], condition: Condition) -> Float[Tensor, "flat d_model"]:
        dtype, groups = condition.dtype, [RaggedRows(*part.shape) for part in parts]
        index = self.classes.of(torch.cat([part.reshape(-1) for part in parts]))
        place = torch.cat([torch.arange(g.length, device=index.device).repeat(g.rows) for g in groups])
        # Looked up, then cast: a cast of the whole of a large table costs more than all the layers.
        x = self.token_embedding(index).to(dtype) + self.position_embedding(place).to(dtype)
        for block in self.blocks:
            x = block(x, condition, groups)
        normalised: Tensor = self.norm(x)
        return normalised

    def start_cache(self, condition: Condition) -> KeysValues:
        """Keys and values with room for all tokens behind the condition's slot."""
        cache: KeysValues = []
        for block in each(self.blocks, Block):
            slots = block.attention.slots(condition)
            room = [torch.zeros_like(s).expand(-1, -1, self.max_length, -1) for s in slots]
            key, value = (torch.cat([s, r], dim=2) for s, r in zip(slots, room, strict=True))
            cache.append((key, value))
        return cache

    def step(self, tokens: Tokens, cache: KeysValues, dtype: torch.dtype) -> Float[Tensor, "batch d_model"]:
        token, position = self.classes.of(tokens[:, -1]), tokens.shape[1] - 1
        x = self.token_embedding(token).to(dtype) + self.position_embedding.weight[position].to(dtype)
        for block, (keys, values) in zip(each(self.blocks, Block), cache, strict=True):
            x = block.step(x, keys, values, position + 1)
        normalised: Tensor = self.norm(x)
        return normalised

    def select(self, cache: KeysValues, rows: Int[Tensor, " chosen"]) -> KeysValues:
        return [(keys[rows], values[rows]) for keys, values in cache]

    def unembedding(self) -> Head:
        return Head(self.head.weight)

    def cached_numbers(self) -> int:
        return 2 * len(self.blocks) * self.norm.weight.shape[0]

    def matrix_parameters(self) -> list[nn.Parameter]:
        """Those of the blocks."""
        return [p for p in self.blocks.parameters() if p.ndim == 2]


class Decoder(nn.Module):
    """`q(x | z, s)`: next-token logits of an input, given an activation and the index of its site in `config.sites`.

    Inputs to draw, to train on and to step through are in the decoder's own tokens; those whose probability is asked
    for are in the task's. The two are the same unless `adapter` says otherwise.
    """

    body: Body

    def __init__(self, trunk: Trunk, body: Body, config: DecoderConfig, *, adapter: TokenAdapter | None = None) -> None:
        super().__init__()
        self.config, self.adapter = config, adapter or SameTokens()
        self.trunk, self.body = trunk, body
        self.classes = Classes(config.vocab_size, config.tokens, others=config.others)
        self.compute_dtype = torch.float32
        """Dtype of the activations inside; training sets the machine's fast one, sampling keeps fp32."""
        self._next_tokens: Callable[[Tokens, int], NextTokens] | None = None
        self._columns: tuple[Tensor, Tensor] | None = None
        """Which of the tokens that the task uses are classes, and which ones, where these are not the same."""
        self._given: list[tuple[Site, int]] = []
        """The sites, and how wide their activations are."""
        self._in_coordinates: Coordinates | None = None

    def reads(self, probed: ProbedModel) -> None:
        """Take activations of this model, which is the one that it belongs to."""
        if self.config.coordinates:
            sites = map(probed.site, self.config.sites)
            self._given, self._in_coordinates = [(site, probed.width(site)) for site in sites], Coordinates(probed)

    def coordinates(self, activations: Activations, site_index: Positions) -> AsRead:
        """What the trunk reads of activations: themselves, or their coordinates, with zeros after the narrower ones."""
        if not self.config.coordinates:
            return activations
        if self._in_coordinates is None:
            raise RuntimeError("a decoder of coordinates needs the probed model before it runs: call reads(probed)")
        read = activations.new_zeros(len(activations), self.config.d_activation, dtype=torch.float32)
        for index in torch.unique(site_index).tolist():
            rows, (site, width) = (site_index == index).nonzero()[:, 0], self._given[index]
            read[rows, : self.config.width(index)] = self._in_coordinates.of(site, activations[rows, :width])
        return read

    def constrain(self, task: Task) -> None:
        """Let only inputs of the task be possible. Raises `UserError` for a task that cannot say what comes next."""
        if not isinstance(task, Constrained):
            raise UserError(f"task {task.name} does not say which tokens can come next: train with constrained off")
        self._next_tokens = task.next_tokens
        used = task.used_tokens
        used = torch.arange(task.vocab_size) if used is None else used
        same = not self.config.others and tuple(used.tolist()) == self.classes.written
        self._columns = None if same else self.classes.columns(used)

    def possible(self, tokens: Tokens, start: int = 0) -> NextClasses | None:
        """Which classes can follow each of `tokens` from position `start` on; None where all can."""
        if self._next_tokens is None and self.config.constrained:
            raise RuntimeError("a constrained decoder needs its task before it runs: call constrain(task)")
        return None if self._next_tokens is None else self._spread(self._next_tokens(tokens, start))

    def _spread(self, possible: NextTokens) -> NextClasses:
        """Of classes, where the decoder is of another time, with more or other tokens than the task uses now.

        Where all tokens are possible, all classes are.
        """
        if self._columns is None:
            return possible
        known, classes = self._columns
        spread = possible.all(dim=2, keepdim=True).repeat(1, 1, self.classes.count)
        spread[..., classes] = possible[..., known]
        return spread

    def undecided(self, tokens: Tokens, possible: NextClasses | None) -> Positions:
        """How many tokens after begin [batch] there are up to the last one that was not the only one possible.

        What comes after it costs nothing: training leaves it out. Where all are `possible`, up to the end token.
        """
        ended = until_end(tokens, self.config.end)[:, 1:]
        open_ = ended if possible is None else ended * (possible[:, : tokens.shape[1] - 1].sum(dim=2) > 1)
        return (open_ * torch.arange(1, tokens.shape[1], device=tokens.device)).amax(dim=1)

    def set_normalisation(self, mean: Float[Tensor, "site d_activation"], scale: Float[Tensor, " site"]) -> None:
        """Per-site mean and root mean square deviation of the activations, by which they are normalised."""
        self.trunk.mean.copy_(mean)
        self.trunk.scale.copy_(scale)

    def set_quantiles(self, site_index: int, values: Float[Tensor, "sample _"]) -> None:
        """Those of a site, by some of its activations as they are read; numbers that are all the same get a width."""
        count = self.config.n_quantiles
        if count:
            found = torch.quantile(values, torch.linspace(0, 1, count, device=values.device), dim=0).T
            apart = 1e-4 * self.trunk.scale[site_index] * torch.linspace(0, 1, count, device=found.device)
            self.trunk.quantiles[site_index, : values.shape[1]] = found + apart

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The weight matrices whose updates are orthogonalised in training."""
        return [*self.body.matrix_parameters(), *self.trunk.matrix_parameters()]

    def forward(
        self,
        tokens: Tokens,
        read: AsRead,
        site_index: Positions,
        ragged: Sequence[RaggedRows] | None = None,
        targets: Int[Tensor, " flat"] | None = None,
        possible: Bool[Tensor, "flat class"] | None = None,
    ) -> Float[Tensor, "flat class"] | Float[Tensor, ""]:
        """Logits (fp32) of the classes after each of `tokens`, row after row; `read` are coordinates of activations.

        With `ragged`, rows are cut as it says, in the order of the batch; the logits of what was cut are not computed.
        With `targets`, the sum of their negative log-probabilities instead, for which few logits are held at once.
        `possible` says which classes can follow, where that is known already.
        """
        groups = [RaggedRows(*tokens.shape)] if ragged is None else ragged
        rows = torch.split(tokens, [g.rows for g in groups])
        parts = [part[:, : g.length] for part, g in zip(rows, groups, strict=True)]
        condition = self.trunk(read, site_index, self.compute_dtype)
        hidden = self.body.hidden(parts, condition).to(self.compute_dtype)
        possible = self._possible_after(tokens, groups) if possible is None else possible
        if targets is None:
            return masked(self.body.unembedding().logits(hidden), possible)
        classes, within = self.classes.targets(targets)
        return summed_loss(self.body.unembedding(), hidden, classes, possible) + within

    def _possible_after(self, tokens: Tokens, groups: Sequence[RaggedRows]) -> Bool[Tensor, "flat class"] | None:
        """Which classes can follow each token of rows that are cut."""
        possible = self.possible(tokens[:, : max(group.length for group in groups)])
        if possible is None:
            return None
        of_groups = zip(torch.split(possible, [group.rows for group in groups]), groups, strict=True)
        return torch.cat([mask[:, : group.length].flatten(0, 1) for mask, group in of_groups])

    def own_log_probs(self, tokens: Tokens, read: AsRead, site_index: Positions) -> PerPosition:
        """As `token_log_probs`, of rows in the decoder's own tokens and coordinates of activations."""
        batch, length = tokens.shape
        rows = max(1, LOGITS_AT_ONCE // (length * self.config.classes))
        if batch > rows:
            parts = zip(*(torch.split(part, rows) for part in (tokens, read, site_index)), strict=True)
            return torch.cat([self.own_log_probs(*part) for part in parts])
        logits = self(tokens[:, :-1], read, site_index).view(batch, length - 1, -1)
        classes, within = self.classes.chosen(tokens[:, 1:])
        picked = logits.log_softmax(-1).gather(2, classes[:, :, None])[:, :, 0] + within
        return F.pad(picked.where(until_end(tokens, self.config.end)[:, 1:] > 0, 0.0), (1, 0))

    def token_log_probs(self, tokens: Tokens, activations: Activations, site_index: Positions) -> PerPosition:
        """log q of each token of the task's rows given those before it [batch, pos], in nats.

        0 at begin and after the first end token. An own token's stands where it ends.
        """
        own = self.adapter.to_own(tokens)
        log_probs = self.own_log_probs(own.tokens, self.coordinates(activations, site_index), site_index)
        return self.adapter.spread(log_probs[None], own, tokens.shape[1])[0]

    def log_prob(self, tokens: Tokens, activations: Activations, site_index: Positions) -> PerInput:
        """log q(x | z, s) [batch] of the task's rows at temperature 1, in nats."""
        return self.token_log_probs(tokens, activations, site_index).sum(dim=1)

    def start_cache(self, read: AsRead, site_index: Positions) -> Cache:
        """What `step` takes, and the body's `select`; one row for the coordinates of each activation."""
        return self.body.start_cache(self.trunk(read, site_index, self.compute_dtype))

    def step(self, tokens: Tokens, cache: Cache) -> Float[Tensor, "batch class"]:
        """Logits (fp32) of the classes after `tokens`, all but the last of which are in the cache, written in place."""
        hidden = self.body.step(tokens, cache, self.compute_dtype).to(self.compute_dtype)
        possible = self.possible(tokens, tokens.shape[1] - 1)
        return masked(self.body.unembedding().logits(hidden), None if possible is None else possible[:, -1])

    @property
    def rows_together(self) -> int:
        """Inputs that sampling and scoring may run together, by the memory of their cache and of their logits."""
        slots = self.config.max_length + 1
        of_logits = LOGIT_BYTES * self.config.classes
        return max(1, STEP_BYTES // (4 * slots * self.body.cached_numbers() + of_logits))


def own_decoder(config: DecoderConfig) -> Decoder:
    """A decoder of its own layers; what weights a seed gives rests on the order of these lines."""
    tokens = nn.Embedding(config.classes, config.d_model)
    positions = nn.Embedding(config.max_length, config.d_model)
    trunk = Trunk(config)
    return Decoder(trunk, OwnLayers(config, tokens, positions), config)


def until_end(tokens: Tokens, end: int) -> Int[Tensor, "batch pos"]:
    """1 up to and including the first end token of each row, then 0."""
    ends = (tokens == end).long()
    ends[:, 0] = 0  # many tokenizers have one token for begin and end
    return (ends.cumsum(dim=1) - ends == 0).long()
