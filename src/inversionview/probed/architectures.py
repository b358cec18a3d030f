"""What differs between architectures: a table of where each keeps the modules that carry its activation sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from inversionview.errors import UserError


@dataclass(frozen=True)
class Architecture:
    """Dotted paths to the modules of one Hugging Face model type.

    Paths of `attention` to `ln2` start at a block, the others at the decoder stack (the model without its head).
    """

    decoder: str
    """From the model with its language modelling head to the decoder stack."""
    embed: str
    pos_embed: str | None
    blocks: str
    final_norm: str
    attention: str
    projection: str
    """The attention's output projection, whose input is the heads' concatenated z."""
    attn_out: str
    """The module whose output attention adds to the residual stream (Gemma: a norm after the projection)."""
    mlp_out: str
    ln1: str
    ln2: str
    """The norm whose input is resid_mid, unless attention and MLP run in parallel."""
    norm: Literal["LayerNorm", "RMSNorm"]
    value: str
    """The module that makes the values."""
    value_layout: Literal["queries|keys|values", "by head", "values"]
    """What the value module's output holds: all queries, then keys, then values; these three head by head; values."""
    is_parallel: Callable[[Any], bool] = lambda config: False


_GPT2 = Architecture(
    decoder="transformer",
    embed="wte",
    pos_embed="wpe",
    blocks="h",
    final_norm="ln_f",
    attention="attn",
    projection="attn.c_proj",
    attn_out="attn",
    mlp_out="mlp",
    ln1="ln_1",
    ln2="ln_2",
    norm="LayerNorm",
    value="attn.c_attn",
    value_layout="queries|keys|values",
)
_GPT_NEOX = Architecture(
    decoder="gpt_neox",
    embed="embed_in",
    pos_embed=None,
    blocks="layers",
    final_norm="final_layer_norm",
    attention="attention",
    projection="attention.dense",
    attn_out="attention",
    mlp_out="mlp",
    ln1="input_layernorm",
    ln2="post_attention_layernorm",
    norm="LayerNorm",
    value="attention.query_key_value",
    value_layout="by head",
    is_parallel=attrgetter("use_parallel_residual"),
)
_LLAMA = Architecture(
    decoder="model",
    embed="embed_tokens",
    pos_embed=None,
    blocks="layers",
    final_norm="norm",
    attention="self_attn",
    projection="self_attn.o_proj",
    attn_out="self_attn",
    mlp_out="mlp",
    ln1="input_layernorm",
    ln2="post_attention_layernorm",
    norm="RMSNorm",
    value="self_attn.v_proj",
    value_layout="values",
)


def _gemma(decoder: str) -> Architecture:
    return Architecture(
        decoder=decoder,
        embed="embed_tokens",
        pos_embed=None,
        blocks="layers",
        final_norm="norm",
        attention="self_attn",
        projection="self_attn.o_proj",
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
        ln1="input_layernorm",
        ln2="pre_feedforward_layernorm",
        norm="RMSNorm",
        value="self_attn.v_proj",
        value_layout="values",
    )


ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _gemma("model"),
    "gemma3": _gemma("model.language_model"),
    "gemma3_text": _gemma("model"),
}


def architecture_of(model_type: object) -> Architecture:
    """The row for the `model_type` of a configuration. Raises UserError that names the types there are."""
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        raise UserError(
            f"models of type {model_type!r} cannot be probed: the table of architectures has no row that says where "
            f"these keep embedding, blocks, attention projection, MLP and norms; it has {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[model_type]


Affine = nn.Linear | Conv1D

_OPTIONS = {"use_cache": False, "output_hidden_states": False, "output_attentions": False, "return_dict": True}


@dataclass(frozen=True)
class LayerParts:
    """The modules of one block that carry its sites; `ln2` is None where attention and MLP run in parallel."""

    block: nn.Module
    attention: nn.Module
    projection: Affine
    attn_out: nn.Module
    mlp_out: nn.Module
    ln1: nn.Module
    ln2: nn.Module | None
    value: Affine


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
    d_head: int
    d_model: int

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
        """W_V `[d_model, head, d_head]` and b_V `[head, d_head]` of one layer."""
        module = self.layers[layer].value
        return self._values(_input_by_output(module)), None if module.bias is None else self._values(module.bias)

    def _values(self, tensor: Tensor) -> Tensor:
        rest = tensor.shape[:-1]
        match self.architecture.value_layout:
            case "queries|keys|values":
                return tensor.view(*rest, 3, self.n_heads, self.d_head)[..., 2, :, :]
            case "by head":
                return tensor.view(*rest, self.n_heads, 3, self.d_head)[..., 2, :]
            case "values":
                by_group = tensor.view(*rest, -1, self.d_head)
                return by_group.repeat_interleave(self.n_heads // by_group.shape[-2], dim=-2)


def _input_by_output(module: Affine) -> Tensor:
    return module.weight if isinstance(module, Conv1D) else module.weight.T


def locate(model: PreTrainedModel) -> Parts:
    """The parts of a Hugging Face model, with or without its language modelling head.

    Raises UserError when the type is not in the table, or the model is not built as the table says.
    """
    architecture = architecture_of(model.config.model_type)
    try:
        parts = _locate(model, architecture)
    except (AttributeError, IndexError) as error:
        raise _not_as_usual(model, str(error)) from error
    width, d_model = parts.n_heads * parts.d_head, parts.d_model
    for layer, part in enumerate(parts.layers):
        weight = part.projection.weight
        if not weight.is_floating_point() or _input_by_output(part.projection).shape != (width, d_model):
            found = f"{weight.dtype} {tuple(weight.shape)}"
            raise _not_as_usual(model, f"the attention of layer {layer} has an output projection of {found}")
    if any(parameter.is_meta for parameter in parts.decoder.parameters()):
        raise UserError(
            f"weights of this {type(model).__name__} are not in memory (offloaded): use bfloat16, or devices that hold "
            "all of it"
        )
    return parts


def _not_as_usual(model: PreTrainedModel, why: str) -> UserError:
    return UserError(
        f"this {type(model).__name__} is not built as models of type {model.config.model_type!r} are ({why}): "
        "give an unmodified, unquantised Hugging Face causal language model"
    )


def _locate(model: PreTrainedModel, architecture: Architecture) -> Parts:
    decoder = model if hasattr(model, architecture.blocks) else attrgetter(architecture.decoder)(model)
    config = decoder.config
    parallel = architecture.is_parallel(config)
    layers = tuple(_locate_layer(architecture, block, parallel) for block in getattr(decoder, architecture.blocks))
    return Parts(
        architecture=architecture,
        decoder=decoder,
        embed=getattr(decoder, architecture.embed),
        pos_embed=getattr(decoder, architecture.pos_embed) if architecture.pos_embed else None,
        final_norm=getattr(decoder, architecture.final_norm),
        layers=layers,
        n_heads=config.num_attention_heads,
        d_head=_input_by_output(layers[0].projection).shape[0] // config.num_attention_heads,
        d_model=config.hidden_size,
    )


def _locate_layer(architecture: Architecture, block: nn.Module, parallel: bool) -> LayerParts:
    def part(path: str) -> Any:
        return attrgetter(path)(block)

    return LayerParts(
        block=block,
        attention=part(architecture.attention),
        projection=part(architecture.projection),
        attn_out=part(architecture.attn_out),
        mlp_out=part(architecture.mlp_out),
        ln1=part(architecture.ln1),
        ln2=None if parallel else part(architecture.ln2),
        value=part(architecture.value),
    )
