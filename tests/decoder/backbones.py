"""Tiny random language models of several architectures, and decoders on them."""

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inversionview.decoder.backbone import load_backbone
from inversionview.decoder.model import DecoderConfig
from inversionview.decoder.pretrained import pretrained_decoder
from tests.decoder.tiny import CONFIG

COMMON = {
    "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 32, "bos_token_id": 10, "eos_token_id": 13, "pad_token_id": 14,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 4}
KINDS = {
    "gpt2": {
        "vocab_size": 17, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 32, "bos_token_id": 10,
        "eos_token_id": 13, "pad_token_id": 14,
    },
    "llama": COMMON | GROUPED,
    "gpt_neox": COMMON,
    "qwen3": COMMON | GROUPED,
    "gemma3_text": COMMON | GROUPED | {
        "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 4,
    },
    "mistral": COMMON | GROUPED | {"sliding_window": 5},
}  # fmt: skip
OTHERS = {
    "opt": COMMON | {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "phi": COMMON,
    "gemma2": COMMON | GROUPED | {"sliding_window": 4, "final_logit_softcapping": 2.0},
    "granite": COMMON | GROUPED | {"logits_scaling": 3.0},
    "cohere": COMMON | GROUPED,
}
"""Whose construction checks are enough."""
UNFIT = {
    "bloom": {"vocab_size": 17, "hidden_size": 16, "n_layer": 2, "n_head": 4},
    "falcon": {
        "vocab_size": 17,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "alibi": True,
        "multi_query": False,
        "parallel_attn": False,
        "bias": True,
        "max_position_embeddings": 32,
    },
    "mamba": {"vocab_size": 17, "hidden_size": 16, "num_hidden_layers": 2},
}


def backbone(kind, seed=0, **changes):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**(KINDS | OTHERS | UNFIT)[kind] | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def saved_backbone(folder, kind, **changes):
    backbone(kind, **changes).save_pretrained(folder)
    return folder


def on_backbone(folder, lora_rank=0, seed=0, **changes):
    """A decoder like `tiny_decoder`, on the language model in a folder."""
    torch.manual_seed(seed)
    model, _ = load_backbone(folder)
    decoder = pretrained_decoder(DecoderConfig(**CONFIG | changes), folder, model, lora_rank)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * (0.1 if name.startswith("body.backbone") else 0.3))
    decoder.set_normalisation(torch.randn(3, 8, generator=generator), torch.tensor([1.0, 0.5, 2.0]))
    return decoder.eval()
