"""What differs between architectures: a table of where each keeps the modules that carry its activation sites.

A row of the user's own is given to the model it is for, `ProbedModel(model, architecture=row)`, or put into the table
with `register_architecture`, for loading by name. The check in `selfcheck` says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal

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
    """The module whose output attention adds to the residual stream (Gemma, OLMo 2: a norm after the projection)."""
    mlp_out: str
    down: str | None
    """The MLP's projection back to the stream, whose input is the neurons' activations; None where there is no one."""
    ln1: str | None
    """The norm before attention; None where it reads the residual stream as it is."""
    ln2: str | None
    """The module whose input is resid_mid; None where attention and MLP run in parallel."""
    norm: Literal["LayerNorm", "RMSNorm"]
    query: str
    key: str
    value: str
    """The modules that make queries, keys (before rotary positions and a norm of theirs) and values; or one module."""
    layout: Literal["queries|keys|values", "by head", "apart"]
    """How a module's output is cut: all queries, then keys, then values; by key-value head, the queries that share it,
    then it; of its own each."""
    is_parallel: Callable[[Any], bool] = lambda config: False
    kv_heads: Callable[[Any], int | None] = lambda config: getattr(config, "num_key_value_heads", None)
    """How many heads keys and values have; None for as many as queries."""
    multipliers: Mapping[str, str] = field(default_factory=dict)
    """Of a kind of site, the field of the configuration with the number that the model multiplies such a value by
    before it adds it to the stream (Granite)."""
    logit_scale: Callable[[Any], float] = lambda config: 1.0
    """What the model multiplies its logits by after the unembedding."""
    unreadable: Callable[[Any], str | None] = lambda config: None
    """Why no site is where the row says in a model of this configuration; None where all are."""
    varied: Callable[[Any], dict[str, Any]] = lambda config: {}
    """What of the row is otherwise in a model of this configuration."""


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


def _unreadable_opt(config: Any) -> str | None:
    if config.word_embed_proj_dim != config.hidden_size:
        return f"its embeddings have {config.word_embed_proj_dim} numbers and its residual stream {config.hidden_size}"
    if not config.do_layer_norm_before:
        return "its norms come after attention and MLP were added, so no residual stream runs through it"
    return "it has no final norm" if config._remove_final_layer_norm else None


_OPT = Architecture(
    decoder="model.decoder",
    embed="embed_tokens",
    pos_embed="embed_positions",
    blocks="layers",
    final_norm="final_layer_norm",
    attention="self_attn",
    projection="self_attn.out_proj",
    attn_out="self_attn",
    mlp_out="fc2",
    down="fc2",
    ln1="self_attn_layer_norm",
    ln2="final_layer_norm",
    norm="LayerNorm",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    layout="apart",
    unreadable=_unreadable_opt,
)
_GPTJ = Architecture(
    decoder="transformer",
    embed="wte",
    pos_embed=None,
    blocks="h",
    final_norm="ln_f",
    attention="attn",
    projection="attn.out_proj",
    attn_out="attn",
    mlp_out="mlp",
    down="mlp.fc_out",
    ln1="ln_1",
    ln2=None,
    norm="LayerNorm",
    query="attn.q_proj",
    key="attn.k_proj",
    value="attn.v_proj",
    layout="apart",
    is_parallel=lambda config: True,
)
_FALCON = Architecture(
    decoder="transformer",
    embed="word_embeddings",
    pos_embed=None,
    blocks="h",
    final_norm="ln_f",
    attention="self_attention",
    projection="self_attention.dense",
    attn_out="self_attention",
    mlp_out="mlp",
    down="mlp.dense_4h_to_h",
    ln1="input_layernorm",
    ln2="post_attention_layernorm",
    norm="LayerNorm",
    query="self_attention.query_key_value",
    key="self_attention.query_key_value",
    value="self_attention.query_key_value",
    layout="by head",
    is_parallel=lambda config: config.new_decoder_architecture or config.parallel_attn,
    kv_heads=lambda config: (
        config.num_kv_heads if config.new_decoder_architecture else 1 if config.multi_query else None
    ),
    varied=lambda config: (
        {"ln1": "ln_attn"} if config.new_decoder_architecture and config.num_ln_in_parallel_attn != 1 else {}
    ),
)
_PHI = replace(
    _LLAMA,
    final_norm="final_layernorm",
    projection="self_attn.dense",
    down="mlp.fc2",
    ln2=None,
    norm="LayerNorm",
    is_parallel=lambda config: True,
)
_COHERE = replace(
    _LLAMA,
    ln2=None,
    norm="LayerNorm",
    is_parallel=lambda config: True,
    logit_scale=lambda config: config.logit_scale,
)
_FUSED = "self_attn.qkv_proj"
_MOE = replace(_LLAMA, down=None)


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
    "opt": _OPT,
    "gptj": _GPTJ,
    "phi": _PHI,
    "phi3": replace(_LLAMA, query=_FUSED, key=_FUSED, value=_FUSED, layout="queries|keys|values"),
    "falcon": _FALCON,
    "stablelm": replace(_LLAMA, norm="LayerNorm", is_parallel=attrgetter("use_parallel_residual")),
    "olmo2": replace(_gemma("model"), ln1=None, ln2="mlp"),
    "granite": replace(
        _LLAMA,
        multipliers={
            "embed": "embedding_multiplier",
            **dict.fromkeys(("head", "attn_out", "mlp_out"), "residual_multiplier"),
        },
        logit_scale=lambda config: 1 / config.logits_scaling,
    ),
    "qwen3_moe": _MOE,
    "mixtral": _MOE,
    "smollm3": _LLAMA,
    "cohere": _COHERE,
    "starcoder2": replace(_LLAMA, down="mlp.c_proj", norm="LayerNorm"),
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
