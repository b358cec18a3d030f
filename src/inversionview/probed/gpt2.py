"""A small GPT-2 in plain PyTorch: to import it takes no time, and transformers' models take seconds.

Modules, weights, their names and the order of all operations are those of transformers' `GPT2LMHeadModel`, so that
sites, fingerprint and numbers are the same to the last bit. Studies read the copies of toys that lie in them by it.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inversionview.files import read_tensors
from inversionview.shapes import Positions

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": lambda x: 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0)))),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
_DEFAULTS = {"n_inner": None, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
_PLAIN = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "add_cross_attention": False,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "tie_word_embeddings": True,
}
"""What the fields of a configuration must be, if they are there."""
_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")


def plain_gpt2(folder: Path, numbers: torch.dtype | None) -> GPT2 | None:
    """The model in a folder; None where it is not one as this file has them, and for transformers to load.

    `numbers`: the type of its weights, by default as the configuration says.
    """
    fields = json.loads((folder / "config.json").read_bytes())
    dropout = [fields.get(name, 0.1) for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop")]
    plain = all(fields.get(name, value) == value for name, value in _PLAIN.items()) and not any(dropout)
    file = folder / "model.safetensors"
    if not plain or not file.exists() or any(not isinstance(fields.get(name), int) for name in _SIZES):
        return None
    if fields.get("activation_function", "gelu_new") not in _ACTIVATIONS:
        return None
    with torch.random.fork_rng(devices=[]):  # its first weights are of no use, and must not cost random numbers
        model = GPT2(fields)
    weights = read_tensors(file)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    if expected != {name: tensor.shape for name, tensor in weights.items()}:
        return None
    numbers = numbers or getattr(torch, str(fields.get("dtype")), None)
    model.load_state_dict({name: tensor.to(numbers) for name, tensor in weights.items()}, strict=False, assign=True)
    model.lm_head.weight = model.transformer.wte.weight
    return model


class Output(NamedTuple):
    """What a forward gives, by the names that transformers has for it."""

    last_hidden_state: Tensor
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    logits: Tensor | None = None


class CacheLayer:
    """Keys and values of the tokens that one layer has seen: `[batch, head, pos, d_head]`."""

    keys: Tensor
    values: Tensor

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of further tokens; gives all."""
        if hasattr(self, "keys"):
            keys, values = torch.cat([self.keys, keys], dim=-2), torch.cat([self.values, values], dim=-2)
        self.keys, self.values = keys, values
        return keys, values

    def batch_select_indices(self, rows: Positions) -> None:
        """Keep these inputs, in this order, each as often as it is named."""
        self.keys, self.values = self.keys[rows], self.values[rows]


class Cache:
    """Keys and values of all layers; part of the interface of transformers' `DynamicCache`."""

    def __init__(self, n_layers: int) -> None:
        self.layers = [CacheLayer() for _ in range(n_layers)]

    def get_seq_length(self) -> int:
        """How many tokens were seen."""
        return self.layers[0].keys.shape[-2] if hasattr(self.layers[0], "keys") else 0

    def reorder_cache(self, rows: Positions) -> None:
        """Keep these inputs, in this order, each as often as it is named."""
        for layer in self.layers:
            layer.batch_select_indices(rows.to(layer.keys.device))


class Conv1D(nn.Module):
    """A linear map whose weight is `[input, output]`."""

    def __init__(self, d_out: int, d_in: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(d_in, d_out)), nn.Parameter(torch.empty(d_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, config: SimpleNamespace, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.d_head = config.hidden_size // config.num_attention_heads
        self.c_attn = Conv1D(3 * config.hidden_size, config.hidden_size)
        self.c_proj = Conv1D(config.hidden_size, config.hidden_size)

    def forward(
        self, x: Tensor, past_key_values: Cache | None = None, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`[batch, pos, d_model]`, and where `config` asks for eager attention its probabilities."""
        query, key, value = (
            part.view(*x.shape[:-1], -1, self.d_head).transpose(1, 2) for part in self.c_attn(x).chunk(3, dim=-1)
        )
        if past_key_values is not None:
            key, value = past_key_values.layers[self.layer].update(key, value)
        scale, probabilities = self.d_head**-0.5, None
        if self.config._attn_implementation == "eager":
            scores = torch.matmul(query, key.transpose(-1, -2)) * scale
            probabilities = F.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
            z = torch.matmul(probabilities, value)
        else:
            causal = attention_mask is None and x.shape[1] > 1
            z = F.scaled_dot_product_attention(query, key, value, attention_mask, scale=scale, is_causal=causal)
        return self.c_proj(z.transpose(1, 2).reshape(x.shape)), probabilities


class MLP(nn.Module):
    """The two maps of a block with what is between them."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.hidden_size
        self.c_fc, self.c_proj = Conv1D(inner, config.hidden_size), Conv1D(config.hidden_size, inner)
        self.act = _ACTIVATIONS[config.activation_function]

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.c_proj(self.act(self.c_fc(x)))
        return hidden


class Block(nn.Module):
    """Attention and MLP, each with a norm before it, added to the residual stream."""

    def __init__(self, config: SimpleNamespace, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, past_key_values: Cache | None, attention_mask: Tensor | None) -> Tensor:
        x = self.attn(self.ln_1(x), past_key_values=past_key_values, attention_mask=attention_mask)[0] + x
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """The model without its head."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.wpe = nn.Embedding(config.n_positions, config.hidden_size)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.ln_f = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)

    def forward(
        self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None, use_cache: bool = False, output_hidden_states: bool = False,
        output_attentions: bool = False, return_dict: bool = True,
    ) -> Output:  # fmt: skip
        """The last hidden state, after the final norm, of tokens `[batch, pos]` or of what they are embedded as."""
        if output_attentions or not return_dict:
            raise ValueError("no attentions and no tuples are given here: to_transformers() makes a model that does")
        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = Cache(len(self.h))
        seen, n = 0 if past_key_values is None else past_key_values.get_seq_length(), x.shape[1]
        x = x + self.wpe(torch.arange(seen, seen + n, device=x.device)[None])
        mask = torch.ones(n, seen + n, dtype=torch.bool, device=x.device).tril(seen) if seen and n > 1 else None
        states = []
        for block in self.h:
            states.append(x)
            x = block(x, past_key_values, mask)
        x = self.ln_f(x)
        return Output(x, past_key_values if use_cache else None, (*states, x) if output_hidden_states else None)


class GPT2(nn.Module):
    """A GPT-2 with its language modelling head, which shares the weight of the embedding."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """`fields`: as `config.json` has them."""
        super().__init__()
        self._fields = dict(fields)
        self.config = SimpleNamespace(
            **{**_DEFAULTS, **_PLAIN, **fields},
            hidden_size=fields["n_embd"],
            max_position_embeddings=fields["n_positions"],
            num_attention_heads=fields["n_head"],
            num_hidden_layers=fields["n_layer"],
            _attn_implementation="sdpa",
        )
        self.transformer = Transformer(self.config)
        self.lm_head = nn.Linear(fields["n_embd"], fields["vocab_size"], bias=False)

    def forward(self, input_ids: Tensor | None = None, *, logits_to_keep: int | Tensor = 0, **options: Any) -> Output:
        """The same with logits: of the last `logits_to_keep` positions, of those at these indices, or of all."""
        output: Output = self.transformer(input_ids, **options)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return output._replace(logits=self.lm_head(output.last_hidden_state[:, kept]))

    def get_input_embeddings(self) -> nn.Embedding:
        """What makes vectors of tokens."""
        return self.transformer.wte

    def get_output_embeddings(self) -> nn.Linear:
        """What makes logits."""
        return self.lm_head

    def get_decoder(self) -> nn.Module:
        """The model without its head."""
        return self.transformer

    @property
    def base_model(self) -> nn.Module:
        """The model without its head."""
        return self.transformer

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers."""
        return self.lm_head.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.lm_head.weight.device

    def to_transformers(self) -> GPT2LMHeadModel:
        """The same model as transformers has it, which can generate text and train a head, on the same weights."""
        from transformers import GPT2Config, GPT2LMHeadModel

        with torch.random.fork_rng(devices=[]):  # its first weights are of no use, and must not cost random numbers
            model = GPT2LMHeadModel(GPT2Config.from_dict(copy.deepcopy(self._fields)))
        model.load_state_dict(self.state_dict(), assign=True)
        model.tie_weights()
        model.train(self.training)
        return model

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write it as transformers does, into a folder that it can be loaded from."""
        self.to_transformers().save_pretrained(folder, **options)
