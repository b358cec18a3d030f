"""A tokenizer of whole words, for models of a small vocabulary; its tokens hold the space before them, as in GPT-2."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

SPECIAL = ("<begin>", "<end>", "<pad>", "<unknown>")
_PIECES = r" ?[^\s,.?!]+|[,.?!]"


def word_tokenizer(texts: Iterable[str]) -> Any:
    """A Hugging Face tokenizer that knows the words of these texts, with one token each for begin, end and padding."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({piece for text in texts for piece in re.findall(_PIECES, text)})
    table = {word: i for i, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=SPECIAL[3]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    tokenizer.decoder = decoders.Fuse()
    begin, end, pad, unknown = SPECIAL
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad, unk_token=unknown)
