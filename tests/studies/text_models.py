"""Tiny models of several architectures with random weights for `byte_tokenizer`, and texts to go with them."""

from __future__ import annotations

import random

import pytest
import torch
import transformers

from tests.tokenizers import byte_tokenizer

FAMILIES = (
    "gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "gpt_neox", "qwen3", "gemma3_text"))
)  # fmt: skip
"""Of the whole way from the command line to a reading the first tells most: `tests/probed` tries every one."""
_SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
          "max_position_embeddings": 32}  # fmt: skip


def random_model(family: str, **changes: object) -> transformers.PreTrainedModel:
    """A causal language model of this type."""
    tokenizer = byte_tokenizer()
    fields: dict[str, object] = {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id
    }  # fmt: skip
    if family == "gpt2":
        fields |= {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 32}
    else:
        fields |= _SIZES
    if family in ("llama", "qwen3", "gemma3_text"):
        fields |= {"num_key_value_heads": 1, "head_dim": 4}
    config = transformers.AutoConfig.for_model(family, **fields | changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def some_texts(n: int) -> list[str]:
    """Lists of random words: two of them seldom begin alike."""
    chance = random.Random(0)
    words = ["dog", "cat", "man", "girl", "bird", "king", "tree", "house", "road", "light", "water", "stone", "paper"]
    return [" ".join(["The", *chance.choices(words, k=9)][i % 3 == 0 :]) for i in range(n)]
