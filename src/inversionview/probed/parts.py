"""The modules of a model that carry its sites, by the row of the table of architectures for its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.probed.architectures import Architecture, architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.pytorch_utils import Conv1D

    from inversionview.probed.gpt2 import GPT2

    Affine = nn.Linear | Conv1D
AttentionInput = Literal["query", "key", "value"]

_OPTIONS = {"use_cache": False, "output_hidden_states": False, "output_attentions": False, "return_dict": True}


@dataclass(frozen=True)
class LayerParts:
    """The modules of one block that carry its sites; `ln2` is None where attention and MLP run in parallel."""

    block: nn.Module
    attention: nn.Module
    projection: Affine
    attn_out: nn.Module
    mlp_out: nn.Module
    down: Affine | None
    ln1: nn.Module
    ln2: nn.Module | None
    query: nn.Module
    key: nn.Module
    value: Affine

    @property
    def norm_after_heads(self) -> bool:
        """Whether what attention adds to the stream is the output of a norm, so that no head's result is added."""
        return self.attn_out not in set(self.attention.modules())


@dataclass(frozen=True)
class Parts:
    """The modules of a model that carry its sites."""

    architecture: Architecture
    decoder: PreTrainedModel
    embed: nn.Embedding
    pos_embed: nn.Module | None
    final_norm: nn.Module
    layers: tuple[LayerParts, ...]
    n_heads: int
    n_kv_heads: int
    """Heads that keys and values have; as many query heads in a row share one."""
    d_head: int
    d_model: int
    d_mlp: int
    """Neurons of an MLP; 0 where these have no one projection."""
    multipliers: Mapping[str, float]
    """Of a kind of site, what the model multiplies such a value by before it adds it to the stream, where that is not
    1; activations are what is added."""
    logit_scale: float
    """What the model multiplies its logits by after the unembedding."""

    def run(self, model: nn.Module, tokens: Tensor, **options: Any) -> Any:
        """The output of the decoder, or of the model around it, for tokens `[batch, pos]`.

        Every option is given, since their defaults are whatever the model's configuration says. Tokens are embedded
        first, by the model's own embedding, because GPT-2 warns of missing masks when it sees padding among token ids.
        """
        return model(inputs_embeds=self.embed(tokens), **{**_OPTIONS, **options})

    def output_weight(self, layer: int) -> Tensor:
        """W_O of one layer, a view of the model's weight: `[head, d_head, d_model]`."""
        return _input_by_output(self.layers[layer].projection).view(self.n_heads, self.d_head, self.d_model)

    def value_weight(self, layer: int) -> tuple[Tensor, Tensor | None]:
        """W_V `[d_model, head, d_head]` and b_V `[head, d_head]` of one layer, for each head that attends."""
        module = self.layers[layer].value
        return self._shared_values(_input_by_output(module)), (
            None if module.bias is None else self._shared_values(module.bias)
        )

    def _shared_values(self, tensor: Tensor) -> Tensor:
        group = self.n_heads // self.n_kv_heads
        return torch.stack([self.cut("value", tensor, head // group) for head in range(self.n_heads)], dim=-2)

    def cut(self, role: AttentionInput, tensor: Tensor, head: int) -> Tensor:
        """The view `[..., d_head]` of one query, key or value in what their module puts out."""
        index, group = get_args(AttentionInput).index(role), self.n_heads // self.n_kv_heads
        match self.architecture.layout:
            case "queries|keys|values":
                block = head + (0, self.n_heads, self.n_heads + self.n_kv_heads)[index]
            case "by head" if role == "query":
                block = head + 2 * (head // group)
            case "by head":
                block = head * (group + 2) + group + index - 1
            case "apart":
                block = head
        return tensor.narrow(-1, block * self.d_head, self.d_head)

    def heads_of(self, role: AttentionInput, width: int) -> int:
        """How many heads of queries, keys or values an output of their module of this width has."""
        others = {"query": 2 * self.n_kv_heads}.get(role, self.n_heads + self.n_kv_heads)
        return width // self.d_head - (0 if self.architecture.layout == "apart" else others)


def is_conv1d(module: nn.Module) -> bool:
    """Whether a module is a linear map that keeps its weight as `[input, output]`, as GPT-2's do.

    By the name of the class, which more than one place has, and without importing transformers, which takes seconds.
    """
    return any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)


def _input_by_output(module: Affine) -> Tensor:
    return module.weight if is_conv1d(module) else module.weight.T


def uncompiled(module: Any) -> Any:
    """The module itself, also where `torch.compile` has put another around it."""
    return getattr(module, "_orig_mod", module)


def uncompiled_name(name: str) -> str:
    """The name of a weight as it was before parts of its model were compiled."""
    return name.replace("_orig_mod.", "")


def locate(model: PreTrainedModel | GPT2, architecture: Architecture | None = None) -> Parts:
    """The parts of a Hugging Face model, with or without its language modelling head.

    `architecture`: without it, the row for the model's type. Raises UserError when there is none, or the model is not
    built as it says.
    """
    architecture = architecture or architecture_of(model.config.model_type)
    if why := architecture.unreadable(model.config):
        raise UserError(f"this {type(model).__name__} cannot be read: {why}")
    try:
        parts = _locate(model, architecture)
    except (AttributeError, IndexError) as error:
        raise _not_as_usual(model, str(error)) from error
    width, d_model = parts.n_heads * parts.d_head, parts.d_model
    for layer, part in enumerate(parts.layers):
        weight = part.projection.weight
        if not weight.is_floating_point() or _input_by_output(part.projection).shape != (width, d_model):
            shape = f"{weight.dtype} {tuple(weight.shape)}"
            raise _not_as_usual(model, f"the attention of layer {layer} has an output projection of {shape}")
    if any(parameter.is_meta for parameter in parts.decoder.parameters()):
        raise UserError(
            f"weights of this {type(model).__name__} are not in memory (offloaded): use bfloat16, or devices that hold "
            "all of it"
        )
    return parts


def _not_as_usual(model: PreTrainedModel | GPT2, why: str) -> UserError:
    return UserError(
        f"this {type(model).__name__} is not built as models of type {model.config.model_type!r} are ({why}): "
        "give an unmodified, unquantised Hugging Face causal language model"
    )


def _locate(model: PreTrainedModel | GPT2, architecture: Architecture) -> Parts:
    decoder = uncompiled(model if hasattr(model, architecture.blocks) else attrgetter(architecture.decoder)(model))
    config = decoder.config
    architecture = replace(architecture, **architecture.varied(config))
    parallel = architecture.is_parallel(config)
    layers = tuple(_locate_layer(architecture, block, parallel) for block in getattr(decoder, architecture.blocks))
    n_heads = config.num_attention_heads
    multipliers = {kind: float(getattr(config, name)) for kind, name in architecture.multipliers.items()}
    return Parts(
        architecture=architecture,
        decoder=decoder,
        embed=uncompiled(getattr(decoder, architecture.embed)),
        pos_embed=uncompiled(getattr(decoder, architecture.pos_embed)) if architecture.pos_embed else None,
        final_norm=uncompiled(getattr(decoder, architecture.final_norm)),
        layers=layers,
        n_heads=n_heads,
        n_kv_heads=architecture.kv_heads(config) or n_heads,
        d_head=_input_by_output(layers[0].projection).shape[0] // n_heads,
        d_model=config.hidden_size,
        d_mlp=0 if layers[0].down is None else _input_by_output(layers[0].down).shape[0],
        multipliers={kind: number for kind, number in multipliers.items() if number != 1},
        logit_scale=architecture.logit_scale(config),
    )


def _locate_layer(architecture: Architecture, block: nn.Module, parallel: bool) -> LayerParts:
    def part(path: str) -> Any:
        return uncompiled(attrgetter(path)(block))

    return LayerParts(
        block=uncompiled(block),
        attention=part(architecture.attention),
        projection=part(architecture.projection),
        attn_out=part(architecture.attn_out),
        mlp_out=part(architecture.mlp_out),
        down=part(architecture.down) if architecture.down else None,
        ln1=part(architecture.ln1) if architecture.ln1 else nn.Identity(),
        ln2=None if parallel or not architecture.ln2 else part(architecture.ln2),
        query=part(architecture.query),
        key=part(architecture.key),
        value=part(architecture.value),
    )
