"""The tokenizer of a model: loading it, and the token that stands before a text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from inversionview.errors import UserError, one_line
from inversionview.imports import uncollected

_ALONE = ("tokenizer*", "vocab.txt", "spiece.model")
_TOGETHER = ("vocab.json", "merges.txt")
_CHAT = re.compile(r"im_start|header|turn|user|system|assistant", re.IGNORECASE)
"""In the name of a token that begins what one says in a chat."""


def load_tokenizer(tokenizer: Any, folder: Path) -> Any:
    """The tokenizer that was given, or the one in the folder or of the name that was; else the one beside the model.

    None where there is none. Raises UserError when it cannot be loaded.
    """
    if tokenizer is not None and not isinstance(tokenizer, (str, Path)):
        return tokenizer
    if tokenizer is None:
        if not has_tokenizer(folder):
            return None
        tokenizer = folder
    if isinstance(tokenizer, Path):
        tokenizer = tokenizer.expanduser()
    with uncollected():
        from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except Exception as error:  # the tokenizers' Rust code raises plain Exception for a damaged file
        raise UserError(f"the tokenizer in {tokenizer} cannot be loaded: {one_line(error)}") from error


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer lies in a folder, in one of the forms in which they are saved."""
    return any(any(folder.glob(name)) for name in _ALONE) or all((folder / name).exists() for name in _TOGETHER)


def set_begin(tokenizer: Any, begin: str) -> None:
    """Make this token of a tokenizer its BOS. Raises UserError where it has no such token."""
    if tokenizer is None:
        raise UserError(f"the model has no tokenizer, so {begin!r} cannot be its begin token")
    if not _has(tokenizer, begin):
        special = ", ".join(dict.fromkeys(tokenizer.all_special_tokens))
        raise UserError(f"{begin!r} is no token of the tokenizer; its special ones are {special or 'none'}")
    tokenizer.bos_token = begin


def _has(tokenizer: Any, token: str) -> bool:
    """Whether this is one of its tokens; the whole list of them takes long to get."""
    number = tokenizer.convert_tokens_to_ids(token)
    return number is not None and bool(tokenizer.convert_ids_to_tokens(number) == token)


def begin_of(tokenizer: Any) -> str | None:
    """The token that stands before a text, whether the tokenizer puts it there or not."""
    token: str | None = tokenizer.bos_token or tokenizer.eos_token or tokenizer.pad_token
    return token


def note_on_begin(tokenizer: Any) -> str:
    """What is to be known of the token that stands before a text; empty where the tokenizer puts its own there."""
    begin = begin_of(tokenizer)
    if begin is None:
        return ""
    if _CHAT.search(begin):
        better = _has(tokenizer, "<|endoftext|>")
        advice = "--begin '<|endoftext|>' may suit texts better" if better else "--begin TOKEN for another"
        return f"{begin} stands before each text, which in this model begins a turn of a chat ({advice})"
    ids = tokenizer("a").input_ids
    if ids and ids[0] == tokenizer.convert_tokens_to_ids(begin):
        return ""
    return f"the tokenizer puts no token before a text; {begin} stands there (--begin TOKEN for another)"
