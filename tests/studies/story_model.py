"""A tiny Llama that tells of a page of stories: five layers of eight heads, trained for seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tokenizers import PAGE, story_tokenizer

STEPS = 60


def save_story_model(folder: Path) -> Path:
    tokenizer = story_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=5, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=True, initializer_range=0.1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        lines = tokenizer(PAGE.splitlines(), padding=True, return_tensors="pt")
        for _ in range(STEPS):
            labels = lines.input_ids.masked_fill(lines.attention_mask == 0, -100)
            optimizer.zero_grad()
            loss = model(**lines, labels=labels).loss
            loss.backward()
            optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
