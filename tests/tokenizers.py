"""Small tokenizers, trained on a page of text as it stands here: a byte-level BPE like GPT-2's, and one like Llama's.

Each word of the page is one token of the first, which also knows the words of the bundled sentences, as GPT-2's does.
"""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from inversionview.tasks.template.file import bundled, read_template

END_OF_TEXT = "<|endoftext|>"
PAGE = """The small dog saw a bird in the old tree. One day, a little girl named Lily went to the park with her mom.
The man and the cat sat in the house by the road. Once upon a time, there was a king who had a stone and some paper.
Lily saw a big, red ball and wanted to play. "Can I have the ball?" she asked. Her mom said, "Yes, we can share it."
One day, a boy named Tim found a tiny key under a tree. He was very happy and ran home to show it to his dad.
The light was in the water, and the water was cold. The dog wanted to go home, but the cat did not want to go.
There was a little bird named Mia. She loved to sing in the garden and to fly over the house with her friends.
Tim and Lily were friends. They liked to play outside with the dog, and the dog liked to run after the ball.
Once upon a time, a boy named Ben had one hat. The hat was too big for him, so he gave it to a girl named Sue.
The capital of France is Paris. The capital of Costa Rica is San Juan. Ask in Peru for Lima, a city by the water.
We find France in Europe. As for Peru, it is in America. A map of Lima is a map of America. There lies the city.
In Peru a city lies by the water.
The mother tongue of the man is French, and she spoke Dutch. It rained. The continent is on the map in the school.
"""
STORY_TOKENS = 512


@functools.cache
def byte_tokenizer() -> Any:
    """Like GPT-2's: bytes, with the space before a word in its token, and one special token for begin and end."""
    ioi = read_template(bundled()["ioi"])
    words = [word for name in ("names", "places", "objects") for word in ioi.lists[name].values]
    parts = dict.fromkeys(part for of_phrasing in zip(*(one.parts for one in ioi.phrasings), strict=True)
                          for part in of_phrasing)  # fmt: skip
    phrases = [part.format_map(dict.fromkeys(("A", "B", "S", "IO", "place", "object"), "Lily")) for part in parts]
    lines = [*PAGE.splitlines(), *phrases, *(f" {word}" for word in words)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([line for line in lines for _ in range(2)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT)


@functools.cache
def story_tokenizer() -> Any:
    """Like Llama's: a space is `▁` and one stands before a text, which begins with a token of its own."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=STORY_TOKENS, special_tokens=[*special, *bytes_], show_progress=False)
    tokenizer.train_from_iterator(PAGE.splitlines(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $0", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
