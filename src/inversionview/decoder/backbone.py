"""A Hugging Face causal language model as the body of a decoder: making it, and putting a slot before its tokens.

A slot is one key and one value in each layer, which every token can attend to. It is given through the cache, as if it
had been a token before the first, so nothing here knows how any architecture computes. The first token keeps position
0, where it was in pretraining; the slot's key is not rotated and so, where positions are rotations, stands at 0 too.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.probed.fingerprint import fingerprint
from inversionview.probed.gguf import as_plain
from inversionview.probed.gpt2 import GPT2
from inversionview.probed.loading import Loading, load
from inversionview.probed.model import ProbedModel
from inversionview.probed.parts import is_conv1d, uncompiled

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SELF = "self"
"""What the probed model is called where a decoder is made of it."""
FULL, SLIDING = "full_attention", "sliding_attention"
"""What transformers calls a layer that sees all earlier tokens, and one that sees the latest of them."""
FUSED_FROM = 256
"""Length from which fused attention is used on a CPU: below, its backward pass is the slower one."""


class SlotShape(NamedTuple):
    """What one layer keeps of a token."""

    heads: int
    d_key: int
    d_value: int


def load_backbone(name_or_path: str | Path) -> tuple[PreTrainedModel, Any]:
    """A pretrained model in fp32, on the CPU, and its tokenizer if there is one; `UserError` where it is damaged."""
    return load(name_or_path, how=Loading(device="cpu", dtype=torch.float32), readable=False)


def backbone_of(probed: ProbedModel, *, shared: bool) -> PreTrainedModel:
    """The probed model as a backbone: modules of its own, on the same frozen weights where `shared`, else on copies.

    So nothing that is done to it (LoRA, its attention's kind, training) is done to the probed model. What it computes
    in is up to what it is given: of shared weights in half precision, matrices stay as they are and are cast when they
    are used, and the few others are copies in fp32. Raises `UserError` for a model on several devices.
    """
    model = probed.model.to_transformers() if isinstance(probed.model, GPT2) else probed.model
    if is_spread(model):
        raise UserError(
            "a decoder cannot be made of a probed model that is spread over several devices: load the model on one, "
            "or give --decoder-from another language model"
        )
    with as_plain(model), torch.no_grad():
        as_they_are = {id(p) for module in model.modules() for p in module.parameters(False) if _casts(module)}
        memo: dict[int, Any] = {id(buffer): buffer if shared else buffer.clone() for buffer in model.buffers()}
        for p in model.parameters():
            kept = shared and (p.dtype == torch.float32 or id(p) in as_they_are)
            values = p.detach() if kept else p.detach().to(torch.float32, copy=True)
            memo[id(p)] = nn.Parameter(values, requires_grad=not shared)
        for module in reversed(list(model.modules())):
            # Hooks are the caller's, and what torch.compile puts around a module does not look into it again.
            memo |= {id(hooks): OrderedDict() for hooks in (module._forward_hooks, module._forward_pre_hooks)}
            if (plain := uncompiled(module)) is not module:
                memo[id(module)] = copy.deepcopy(plain, memo)
        own: PreTrainedModel = copy.deepcopy(model, memo)
    for module in list(own.modules()):
        module.__dict__.pop("forward", None)  # of the caller's making, and of the probed model's own modules
        if any(p.dtype != torch.float32 for p in module.parameters(False)):
            _cast_when_used(module)
    return own


def is_spread(model: nn.Module) -> bool:
    """Whether a model's layers lie on several devices."""
    hooked = any(hasattr(module, "_hf_hook") for module in model.modules())
    return hooked or len({parameter.device for parameter in model.parameters()}) > 1


class _Cast(nn.Module):
    """A linear map that computes in the type of its input, or in autocast's; a class to be put before its own."""

    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.T if is_conv1d(self) else self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):
            return F.linear(x, weight, bias)
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _casts(module: nn.Module) -> bool:
    return type(module) is nn.Linear or is_conv1d(module) or isinstance(module, nn.Embedding)


def _cast_when_used(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        module.register_forward_hook(lambda _, __, states: states.float())
    else:
        module.__class__ = type(type(module).__name__, (_Cast, type(module)), {})


def new_backbone(fields: dict[str, Any]) -> PreTrainedModel:
    """A model of this configuration, as `described` gave it, to be filled with saved weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.for_model(**fields)
        with torch.random.fork_rng(devices=[]):  # its first weights are of no use, and must not cost random numbers
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"the decoder's backbone cannot be made: {' '.join(str(error).split())[:300]}") from error
    return model


def described(model: PreTrainedModel) -> dict[str, Any]:
    """The configuration of a model, as plain JSON."""
    fields: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    for passing in ("transformers_version", "_name_or_path", "torch_dtype", "dtype"):
        fields.pop(passing, None)
    return fields


def weights_fingerprint(model: PreTrainedModel) -> str:
    """One short name for the weights, by which a model that was trained further is told from it."""
    return fingerprint(model.base_model, head_of(model))


def head_of(model: PreTrainedModel) -> Any:
    """The layer that makes logits, a linear one."""
    return model.get_output_embeddings()


def add_lora(model: PreTrainedModel, rank: int) -> None:
    """Add trainable matrices of this rank to all linear maps but the head, in place, and freeze the rest.

    Raises `UserError` where the package for it is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("LoRA needs the package peft: pip install peft") from error
    transposed = any(is_conv1d(module) for module in model.modules())
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", fan_in_fan_out=transposed)
    inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:  # made in the type of the weights that they are added to
            parameter.data = parameter.data.float()


def finisher(config: Any) -> Callable[[Tensor], Tensor] | None:
    """What some models do with their head's logits: a factor (Cohere, Granite), a cap (Gemma 2). Most do nothing."""
    cap = getattr(config, "final_logit_softcapping", None)
    factor = getattr(config, "logit_scale", 1.0) / getattr(config, "logits_scaling", 1.0)
    if cap is None:
        return None if factor == 1.0 else lambda logits: factor * logits
    return lambda logits: cap * torch.tanh(factor * logits / cap)


@torch.no_grad()
def slot_shapes(model: PreTrainedModel) -> list[SlotShape]:
    """What each layer keeps of a token, seen by running one. Raises `UserError` where a layer keeps something else."""
    from transformers import DynamicCache

    cache = DynamicCache()
    try:
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), past_key_values=cache, use_cache=True)
        layers: list[Any] = list(cache.layers)
        shapes = [SlotShape(one.keys.shape[1], one.keys.shape[3], one.values.shape[3]) for one in layers]
    except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(model, "does not keep keys and values in each layer") from error
    if not shapes or any(layer.keys.shape[2] != 1 for layer in layers):
        raise unfit(model, "does not keep keys and values in each layer")
    return shapes


def masks(config: Any, start: int, n: int, dtype: torch.dtype, device: torch.device) -> Tensor | dict[str, Tensor]:
    """What `n` tokens from position `start` on add to their scores of the slot and of all tokens up to the last.

    `[1, 1, n, 1 + start + n]`, or one for each kind of layer. Every token sees the slot, however far it is.
    """
    position, other = torch.arange(start, start + n, device=device)[:, None], torch.arange(-1, start + n, device=device)
    seen = other <= position
    lowest = torch.finfo(dtype).min
    full = torch.zeros(n, start + n + 1, dtype=dtype, device=device).masked_fill(~seen, lowest)[None, None]
    window, kinds = _window(config), set(getattr(config, "layer_types", None) or ())
    if window is None or window >= start + n:
        return full
    near = (other < 0) | (position - other < window)
    sliding = full.masked_fill(~near, lowest)
    return {FULL: full, SLIDING: sliding} if FULL in kinds and SLIDING in kinds else sliding


def _window(config: Any) -> int | None:
    """How many of the latest tokens some layer sees, itself included; None where all layers see all."""
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is not None and SLIDING not in kinds:
        return None
    return int(window) if window and getattr(config, "use_sliding_window", True) is not False else None


def prepare(model: PreTrainedModel, max_length: int) -> None:
    """Ready a model for inputs of up to `max_length` tokens. Raises `UserError` for one that cannot see so far."""
    config: Any = model.config
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and longest < max_length:
        raise unfit(model, f"has {longest} positions, and the task needs {max_length}")
    others = set(getattr(config, "layer_types", None) or ()) - {FULL, SLIDING}
    if others:
        raise unfit(model, f"has layers of another kind ({', '.join(sorted(others))})")
    if "local" in getattr(config, "attention_layers", ()) and config.window_size <= max_length:
        raise unfit(model, f"has layers that see {config.window_size} tokens only, and the task needs {max_length}")
    fused = model._supports_sdpa and (torch.cuda.is_available() or max_length >= FUSED_FROM)
    model.set_attn_implementation("sdpa" if fused else "eager")
    nn.Module.eval(model)


def unfit(model: nn.Module, why: str) -> UserError:
    """The error for a model that cannot be a backbone, since it does `why`."""
    kind = getattr(model.config, "model_type", type(model).__name__)
    return UserError(f"a model of type {kind} cannot be a decoder's backbone: it {why}")
