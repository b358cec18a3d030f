"""A byte-level tokenizer of so many tokens, and the texts that it was trained on."""

from __future__ import annotations

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def texts(n=400):
    chance = random.Random(0)
    words = ["the", "cat", "dog", "tree", "sees", "a", "house", "and", "runs", "bird", "small", "café"]
    return [" ".join(chance.choices(words, k=chance.randint(2, 6))) for _ in range(n)]


def tokenizer(size, end="<end>"):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<begin>", end]
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=special[0], eos_token=end, pad_token=end)
