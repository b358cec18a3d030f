"""Texts to tokens and back: characters, or a Hugging Face tokenizer with its begin, end and padding."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import read_json, write_atomic
from inversionview.imports import uncollected
from inversionview.shapes import OneInput, PositionMask, Tokens
from inversionview.tasks.pieces import BROKEN, shown
from inversionview.tasks.positions import first_end

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel
from inversionview.tasks.words import ends

_CONFIG = "vocabulary.json"
SPECIAL_WORDS = ("<begin>", "<end>", "<pad>", "<unknown>")
_PIECES = r" ?[^\s,.?!]+|[,.?!]"


@runtime_checkable
class Symbols(Protocol):
    """What the tokens of a task stand for, and which of them stand before an input, after it, and behind that."""

    begin: int
    end: int
    pad: int
    size: int

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without begin and end."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """The text of these tokens, as it is."""

    @abstractmethod
    def strings(self, tokens: OneInput) -> list[str]:
        """What each token of a row stands for, up to and including the first end token."""

    def known_ids(self, text: str) -> list[int]:
        """As `ids`. Raises `UserError` for what there is no token for."""
        return self.ids(text)

    def row(self, ids: Sequence[int], width: int | None = None) -> OneInput:
        """Begin, these tokens, end; and padding up to `width`."""
        row = [self.begin, *ids, self.end]
        return torch.tensor(row + [self.pad] * max(0, (width or 0) - len(row)))

    def inner(self, tokens: OneInput) -> list[int]:
        """The tokens between begin and the first end; of a malformed row, whatever is there."""
        return [token for token in self.up_to_end(tokens)[1:] if token != self.end]

    def up_to_end(self, tokens: OneInput) -> list[int]:
        """The tokens up to and including the first end; of a malformed row, whatever is there."""
        row: list[int] = tokens.tolist()
        return row[: row.index(self.end, 1) + 1] if self.end in row[1:] else row

    def find(self, tokens: OneInput, word: str, number: int = 1) -> int:
        """Position of the last token of the n-th occurrence of a whole word, or of words, in a row; -1 without it."""
        ids = self.inner(tokens)
        text = self.text(ids)
        at = self.word_ends(text, word)
        if len(at) < number:
            return -1
        said = text[: at[number - 1]]
        return bisect_left(range(1, len(ids)), True, key=lambda n: self.text(ids[:n]).startswith(said)) + 1

    def word_ends(self, text: str, word: str) -> list[int]:
        """Behind which character of a text each occurrence of a word ends."""
        return ends(text, word)


def used_in(rows: Tokens, vocabulary: Symbols) -> Int[Tensor, " used"]:
    """The tokens of these rows, sorted, with begin, end and padding."""
    ends = torch.tensor([vocabulary.begin, vocabulary.end, vocabulary.pad])
    used: Tensor = torch.unique(torch.cat([rows.flatten(), ends]))
    return used


class Characters(Symbols):
    """One token a character, its index in `symbols`, with two of these for begin and end; padding is one token more."""

    def __init__(self, symbols: str, *, begin: str, end: str) -> None:
        self.symbols, self.begin, self.end = symbols, symbols.index(begin), symbols.index(end)
        self.pad, self.size = len(symbols), len(symbols) + 1

    def ids(self, text: str) -> list[int]:
        """The tokens of a text. Raises `UserError` for a character that is none of the symbols, or begin or end."""
        for place, symbol in enumerate(text):
            if symbol not in self.symbols or self.symbols.index(symbol) in (self.begin, self.end):
                raise UserError(f"{text!r} does not tokenise: {symbol!r} at character {place} is no token")
        return [self.symbols.index(symbol) for symbol in text]

    def text(self, ids: Sequence[int]) -> str:
        """Their symbols; `_` for padding inside a malformed row."""
        return "".join(self.symbols[token] if token < len(self.symbols) else "_" for token in ids)

    def word_ends(self, text: str, word: str) -> list[int]:
        """Behind which character each occurrence ends; any string is a word where each character is a token."""
        return [one.end() for one in re.finditer(re.escape(word), text)] if word else []

    def strings(self, tokens: OneInput) -> list[str]:
        """One symbol a position, up to and including the first end token."""
        return list(self.text(self.up_to_end(tokens)))


class Vocabulary(Symbols):
    """A tokenizer, and which of its tokens stand before an input, after it, and behind that.

    Begin is the tokenizer's BOS; where it has none, its EOS or padding token, which then stands at position 0 all the
    same, so that a text's own tokens always count from 1. End is the EOS, or begin; padding the padding token, or end.
    Of a tokenizer that is longer than the model's embedding, as some are by tokens that were added, the tokens beyond
    are unknown, as are the ids between its tokens that stand for nothing; texts that need them are not in the domain.
    """

    def __init__(self, tokenizer: Any, embedded: int | None = None) -> None:
        """`embedded`: how many tokens the model has an embedding for; None: for all of them."""
        if tokenizer is None:
            raise UserError("the model has no tokenizer, and a task of texts needs one: put its files beside the model")
        self.tokenizer = tokenizer
        ids = set(tokenizer.get_vocab().values())
        size = max(max(ids, default=0) + 1, len(tokenizer))
        self.size = size if embedded is None else min(size, embedded)
        if 2 * self.size < size:
            raise UserError(f"the tokenizer has {size} tokens and the model {self.size}: it is another model's")
        named = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        bos, eos, pad = (token if token is not None and token < self.size else None for token in named)
        special = [token for token in (bos, eos, pad) if token is not None]
        if not special:
            raise UserError(
                "the tokenizer has no BOS, EOS or padding token, so nothing can stand before a text: "
                "give it one, such as tokenizer.bos_token = '<s>'"
            )
        self.begin: int = special[0]
        self.end: int = eos if eos is not None else self.begin
        self.pad: int = pad if pad is not None else self.end
        nothing = set(range(self.size)) - ids
        own = {token for token in tokenizer.all_special_ids if token < self.size}
        self.special = frozenset({self.begin, self.end, self.pad, *own, *nothing})

    @classmethod
    def of(cls, probed: ProbedModel) -> Vocabulary:
        """Of a model and its tokenizer. Raises `UserError` where it has none, or one of another model."""
        return cls(probed.tokenizer, probed.vocab_size)

    @property
    def has_bos(self) -> bool:
        """Whether the begin token is the tokenizer's own BOS."""
        return self.tokenizer.bos_token_id is not None

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without begin and end; what looks like a special token in it is plain text."""
        return self.all_ids([text])[0]

    def all_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of many texts at once, which is much faster."""
        if not texts:
            return []
        try:
            encoded = self.tokenizer(
                list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False,
                return_attention_mask=False, return_token_type_ids=False,
            )  # fmt: skip
        except (TypeError, UnicodeError):  # how a text looks from there that cannot be written in UTF-8
            for text in texts:
                _check_is_whole(text)
            raise
        return list(encoded["input_ids"])

    def known_ids(self, text: str) -> list[int]:
        """As `ids`. Raises `UserError` where the tokenizer does not know a part of the text."""
        ids = self.ids(text)
        if unknown := [position for position, token in enumerate(ids, start=1) if not self.knows(token)]:
            who = "model" if ids[unknown[0] - 1] >= self.size else "tokenizer"
            raise UserError(f"the {who} does not know token {unknown[0]} of {text!r}: write it in other words")
        return ids

    def knows(self, token: int) -> bool:
        """Whether a token can be in a text of the domain."""
        return token < self.size and token not in self.special

    def text(self, ids: Sequence[int]) -> str:
        """The text of these tokens, as it is."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of many rows of tokens at once, which is much faster."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return [self.text(ids) for ids in rows]
        return list(backend.decode_batch([list(ids) for ids in rows], skip_special_tokens=False))

    @cached_property
    def names(self) -> list[str]:
        """The text of each token of the vocabulary by itself; of a part of a character its bytes, as `⟨E4⟩`."""
        texts = self.texts([[token] for token in range(self.size)])
        for token in (token for token, text in enumerate(texts) if BROKEN in text):
            texts[token] = shown([self.tokenizer.convert_ids_to_tokens(token) or ""], [texts[token]])[0]
        return texts

    def begins_word(self, token: int) -> bool:
        """Whether a space stands before a token, or in its place."""
        word = self.tokenizer.convert_ids_to_tokens(token) or ""
        return word[:1] in ("Ġ", "▁", " ", "Ċ", "\n")

    def strings(self, tokens: OneInput) -> list[str]:
        """What each token stands for in the text, up to and including the first end token.

        A character that is more than one token stands at the first of them, and the others are empty.
        """
        row = self.up_to_end(tokens)
        words = [word or "" for word in self.tokenizer.convert_ids_to_tokens(row)]
        plain = [token in self.special for token in row]
        texts = [
            word if special else self._shown(token, word)
            for token, word, special in zip(row, words, plain, strict=True)
        ]
        return shown(words, texts)

    def _shown(self, token: int, word: str) -> str:
        text = self.text([token])
        # SentencePiece drops the space at the start of a text.
        return " " + text if word.startswith("▁") and not text.startswith(" ") else text

    def is_canonical(self, tokens: Tokens) -> torch.Tensor:
        """Which rows `[batch]` hold the very tokens that their text is cut into."""
        inner = [self.inner(row) for row in tokens]
        return torch.tensor([a == b for a, b in zip(inner, self.again(inner), strict=True)], dtype=torch.bool)

    def again(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """The tokens that the text of each row is cut into."""
        return self.all_ids(self.texts(rows))

    def well_formed(self, tokens: Tokens) -> torch.Tensor:
        """Which rows `[batch]` are begin, at least one token that is not special, end, and padding."""
        end = first_end(tokens, self.end)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        inside: PositionMask = (place > 0) & (place < end[:, None])
        special = torch.isin(tokens, torch.tensor(sorted(self.special), device=tokens.device)) | (tokens >= self.size)
        behind = (place > end[:, None]) & (tokens != self.pad)
        return (tokens[:, 0] == self.begin) & (end > 1) & ~(inside & special).any(1) & ~behind.any(1)

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a folder that is there."""
        self.tokenizer.save_pretrained(folder)
        write_atomic(folder / _CONFIG, json.dumps({"size": self.size}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read what `save` wrote. Raises `UserError` when it is missing or damaged."""
        with uncollected():
            from transformers import AutoTokenizer

        if not (folder / _CONFIG).is_file():
            raise UserError(f"there is no tokenizer of a task in {folder}")
        try:
            size = read_json(folder / _CONFIG, "size of a task's vocabulary")["size"]
            return cls(AutoTokenizer.from_pretrained(folder, trust_remote_code=False), size)
        except UserError:
            raise
        except Exception as error:  # the tokenizers' Rust code raises plain Exception for a damaged file
            raise UserError(
                f"the tokenizer in {folder} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error


def _check_is_whole(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise UserError(
            f"character {error.start + 1} of {text!r} is half a character or a broken byte: {half!r}"
        ) from None


def word_tokenizer(texts: Iterable[str]) -> Any:
    """A Hugging Face tokenizer of whole words, those of these texts, for models of a small vocabulary.

    One token each for begin, end, padding and an unknown word; a word's token holds the space before it, as in GPT-2.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({piece for text in texts for piece in re.findall(_PIECES, text)})
    table = {word: i for i, word in enumerate((*SPECIAL_WORDS, *words))}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=SPECIAL_WORDS[3]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    tokenizer.decoder = decoders.Fuse()
    begin, end, pad, unknown = SPECIAL_WORDS
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad, unk_token=unknown)
