"""One short name for what a model computes, so that what was trained on its activations is not used with another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from inversionview.probed.parts import uncompiled_name

# A chosen few, not the whole configuration: that holds what no activation depends on (dropout, token ids, paths),
# and grows new fields with every release of transformers, which would make every stored fingerprint wrong.
_FIELDS = (
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "activation_function",
    "hidden_act",
    "hidden_activation",
    "layer_norm_epsilon",
    "layer_norm_eps",
    "rms_norm_eps",
    "use_parallel_residual",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "rope_parameters",
    "sliding_window",
    "layer_types",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "activation",
    "rotary_dim",
    "parallel_attn",
    "num_ln_in_parallel_attn",
    "new_decoder_architecture",
    "multi_query",
    "alibi",
    "qk_layernorm",
    "use_qk_norm",
    "norm_epsilon",
    "no_rope_layers",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
    "logit_scale",
    "num_experts_per_tok",
    "norm_topk_prob",
)


def fingerprint(decoder: nn.Module, head: nn.Module | None) -> str:
    """SHA-256, in hex, of the weights (names, types, shapes, values) and of what else determines the activations.

    `decoder` is the Hugging Face model without its language modelling head, `head` that head; one that shares its
    weight with the embedding adds nothing, so the same model has one fingerprint with and without it.
    """
    digest = hashlib.sha256()
    config: Any = decoder.config
    fields = {name: getattr(config, name) for name in _FIELDS if getattr(config, name, None) is not None}
    digest.update(json.dumps(fields, sort_keys=True, default=str).encode())
    for name, tensor in sorted(_tensors(decoder, head)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(decoder: nn.Module, head: nn.Module | None) -> Iterator[tuple[str, Tensor]]:
    own = decoder.state_dict()
    yield from ((uncompiled_name(name), tensor) for name, tensor in own.items())
    shared = {(tensor.device, tensor.data_ptr()) for tensor in own.values()}
    for name, tensor in head.state_dict().items() if head is not None else ():
        if (tensor.device, tensor.data_ptr()) not in shared:
            yield f"head.{name}", tensor
