"""Tiny random models of every architecture, with nothing left at its initial zero or one that could hide a mistake."""

from collections.abc import Callable

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
)

from inversionview.probed.access import all_sites
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site

VOCAB = 17
LENGTH = 16

# A head is not d_model / heads wide where the architecture allows it, and keys and values are shared by two heads.
_ROTARY = {
    "vocab_size": VOCAB,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": LENGTH,
    "pad_token_id": 0,
}
_GEMMA = {
    **_ROTARY,
    "sliding_window": 4,
    "query_pre_attn_scalar": 5,
    "layer_types": ["sliding_attention", "full_attention"],
}


def _gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCAB, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    )


def _gpt_neox(parallel: bool) -> PreTrainedModel:
    config = GPTNeoXConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_dropout=0.2,
        attention_dropout=0.2,
        use_parallel_residual=parallel,
    )
    return GPTNeoXForCausalLM(config)


def _gemma3_multimodal() -> PreTrainedModel:
    text = Gemma3TextConfig(**_GEMMA)
    vision = SiglipVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=4, patch_size=2
    )
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1, image_token_index=VOCAB - 1)
    return Gemma3ForConditionalGeneration(config)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": _gpt2,
    "gpt_neox": lambda: _gpt_neox(parallel=True),
    "gpt_neox sequential": lambda: _gpt_neox(parallel=False),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_ROTARY, attention_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_ROTARY, sliding_window=4)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_ROTARY)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_ROTARY)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_GEMMA, attn_logit_softcapping=5.0, final_logit_softcapping=5.0)
    ),
    "gemma3_text": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA)),
    "gemma3": _gemma3_multimodal,
}
LAYER_NORM = ("gpt2", "gpt_neox", "gpt_neox sequential")
SEQUENTIAL = tuple(name for name in MODELS if name != "gpt_neox")


def tiny(name: str, seed: int = 0) -> PreTrainedModel:
    """A model in evaluation mode; the same name and seed give the same weights."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
    return model.eval()


def every_site(probed: ProbedModel) -> tuple[Site, ...]:
    """Those that `ProbedModel.sites` lists, and attention inputs, z and neurons."""
    return (*probed.sites, *all_sites(probed._parts, listed=False))


def some_tokens(batch: int = 3, length: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, VOCAB - 1, (batch, length), generator=torch.Generator().manual_seed(seed))
