"""Tiny random models of every architecture, with nothing left at its initial zero or one that could hide a mistake."""

from collections.abc import Callable

import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SiglipVisionConfig,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

from inversionview.probed.access import all_sites
from inversionview.probed.architectures import ARCHITECTURES
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


def _gptj() -> PreTrainedModel:
    config = GPTJConfig(
        vocab_size=VOCAB, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=4, rotary_dim=2, resid_pdrop=0.2
    )
    return GPTJForCausalLM(config)


def _opt() -> PreTrainedModel:
    config = OPTConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        layerdrop=0.5,
    )
    return OPTForCausalLM(config)


def _falcon(**options: object) -> PreTrainedModel:
    config = FalconConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_dropout=0.2,
        **options,
    )
    return FalconForCausalLM(config)


_SQUARE = {key: value for key, value in _ROTARY.items() if key != "head_dim"} | {"hidden_size": 16}
_MOE = {**_ROTARY, "hidden_size": 16, "intermediate_size": 24, "num_experts_per_tok": 2}  # by 8, for products in bf16


def _stablelm(**options: bool) -> PreTrainedModel:
    rotary = {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.5}
    return StableLmForCausalLM(StableLmConfig(**_SQUARE, rope_parameters=rotary, **options))


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
    "opt": _opt,
    "gptj": _gptj,
    "phi": lambda: PhiForCausalLM(PhiConfig(**{**_SQUARE, "num_key_value_heads": 4}, resid_pdrop=0.2)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**_SQUARE, sliding_window=4)),
    "falcon 40b": lambda: _falcon(new_decoder_architecture=True, num_kv_heads=2, bias=True),
    "falcon 11b": lambda: _falcon(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1),
    "falcon 7b": lambda: _falcon(),
    "falcon rw": lambda: _falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "stablelm": lambda: _stablelm(use_qkv_bias=True),
    "stablelm parallel": lambda: _stablelm(use_parallel_residual=True),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**_ROTARY)),
    "granite": lambda: GraniteForCausalLM(
        GraniteConfig(
            **_SQUARE, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.7, logits_scaling=2.0
        )
    ),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**_MOE, moe_intermediate_size=8, num_experts=3, mlp_only_layers=[1])
    ),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**_MOE, num_local_experts=3, sliding_window=4)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**_SQUARE, no_rope_layer_interval=2)),
    "cohere": lambda: CohereForCausalLM(
        CohereConfig(**_SQUARE, use_qk_norm=True, logit_scale=0.5, attention_bias=True)
    ),
    "starcoder2": lambda: Starcoder2ForCausalLM(Starcoder2Config(**_SQUARE, use_bias=True, sliding_window=4)),
}
"""By `model_type`, and after a space which of its forms."""
NORM_AFTER_HEADS = ("gemma2", "gemma3_text", "gemma3", "olmo2")
LAYER_NORM = tuple(name for name in MODELS if ARCHITECTURES[name.split()[0]].norm == "LayerNorm")
PARALLEL = ("gpt_neox", "gptj", "phi", "falcon 40b", "falcon 11b", "falcon 7b", "stablelm parallel", "cohere")
SEQUENTIAL = tuple(name for name in MODELS if name not in PARALLEL)
NOT_IN_TRANSFORMER_LENS = {
    "falcon 40b": "its adapter cuts queries, keys and values as if each head had its own",
    "falcon 11b": "its adapter looks for two norms",
    "falcon rw": "transformers adds ALiBi twice in plain attention, which the bridge takes, and once in the fused one",
}


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
