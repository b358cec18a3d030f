"""What differs between architectures: a table of where each keeps the modules that carry its activation sites.

A row of the user's own is given to the model it is for, `ProbedModel(model, architecture=row)`, or put into the table
with `register_architecture`, for loading by name. The check in `selfcheck` says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal, get_args

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from inversionview.errors import UserError


@dataclass(frozen=True)
class Architecture:
    """Dotted paths to the modules of one Hugging Face model type.

    Those of `embed`, `pos_embed`, `blocks` and `final_norm` start at the decoder stack (the model without its head),
    those after them at a block.
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
    down: str | None
    """The MLP's projection back to the stream, whose input is the neurons' activations; None where there is no one."""
    ln1: str
    ln2: str
    """The norm whose input is resid_mid, unless attention and MLP run in parallel."""
    norm: Literal["LayerNorm", "RMSNorm"]
    query: str
    key: str
    value: str
    """The modules that make queries, keys (before rotary positions and a norm of theirs) and values; or one module."""
    layout: Literal["queries|keys|values", "by head", "apart"]
    """How a module's output is cut: all queries, then keys, then values; these three head by head; of its own each."""
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
    down="mlp.c_proj",
    ln1="ln_1",
    ln2="ln_2",
    norm="LayerNorm",
    query="attn.c_attn",
    key="attn.c_attn",
    value="attn.c_attn",
    layout="queries|keys|values",
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
    down="mlp.dense_4h_to_h",
    ln1="input_layernorm",
    ln2="post_attention_layernorm",
    norm="LayerNorm",
    query="attention.query_key_value",
    key="attention.query_key_value",
    value="attention.query_key_value",
    layout="by head",
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
    down="mlp.down_proj",
    ln1="input_layernorm",
    ln2="post_attention_layernorm",
    norm="RMSNorm",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    layout="apart",
)


def _gemma(decoder: str) -> Architecture:
    return replace(
        _LLAMA,
        decoder=decoder,
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
        ln2="pre_feedforward_layernorm",
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


def register_architecture(model_type: str, row: Architecture) -> None:
    """Add a row for the `model_type` of a configuration to the table; one that is there gives way to it."""
    if not isinstance(row, Architecture):
        raise UserError(f"a row of the table is an inversionview.Architecture, not {type(row).__name__}")
    ARCHITECTURES[model_type] = row


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
        return self.cut("value", tensor).repeat_interleave(self.n_heads // self.n_kv_heads, dim=-2)

    def cut(self, role: AttentionInput, tensor: Tensor) -> Tensor:
        """The view `[..., head, d_head]` of queries, keys or values in what their module puts out."""
        by_head, index = tensor.view(*tensor.shape[:-1], -1, self.d_head), get_args(AttentionInput).index(role)
        match self.architecture.layout:
            case "queries|keys|values":
                start = (0, self.n_heads, self.n_heads + self.n_kv_heads)[index]
                return by_head.narrow(-2, start, self.n_heads if role == "query" else self.n_kv_heads)
            case "by head":
                return by_head.view(*tensor.shape[:-1], -1, 3, self.d_head)[..., index, :]
            case "apart":
                return by_head


def _input_by_output(module: Affine) -> Tensor:
    return module.weight if isinstance(module, Conv1D) else module.weight.T


def locate(model: PreTrainedModel, architecture: Architecture | None = None) -> Parts:
    """The parts of a Hugging Face model, with or without its language modelling head.

    `architecture`: without it, the row for the model's type. Raises UserError when there is none, or the model is not
    built as it says.
    """
    architecture = architecture or architecture_of(model.config.model_type)
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
    n_heads = config.num_attention_heads
    return Parts(
        architecture=architecture,
        decoder=decoder,
        embed=getattr(decoder, architecture.embed),
        pos_embed=getattr(decoder, architecture.pos_embed) if architecture.pos_embed else None,
        final_norm=getattr(decoder, architecture.final_norm),
        layers=layers,
        n_heads=n_heads,
        n_kv_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        d_head=_input_by_output(layers[0].projection).shape[0] // n_heads,
        d_model=config.hidden_size,
        d_mlp=0 if layers[0].down is None else _input_by_output(layers[0].down).shape[0],
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
        down=part(architecture.down) if architecture.down else None,
        ln1=part(architecture.ln1),
        ln2=None if parallel else part(architecture.ln2),
        query=part(architecture.query),
        key=part(architecture.key),
        value=part(architecture.value),
    )
