"""Texts of six words, their tokenizer, and a model of them."""

from __future__ import annotations

from itertools import product

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from inversionview.probed.model import ProbedModel

WORDS = ["the", "cat", "dog", "saw", "ran", "a"]


def tokenizer(**special: str) -> PreTrainedTokenizerFast:
    names = special or {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    symbols = [*dict.fromkeys(names.values()), *WORDS]
    word_level = Tokenizer(models.WordLevel({word: i for i, word in enumerate(symbols)}, unk_token=symbols[0]))
    word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=word_level, **names)


def model(**changes: int) -> ProbedModel:
    config = GPT2Config(vocab_size=9, n_positions=16, n_embd=16, n_layer=1, n_head=2, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = GPT2LMHeadModel(config).eval()
        for parameter in made.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return ProbedModel(made, tokenizer())


TEXTS = [" ".join(words) for words in product(WORDS, repeat=4)]
