"""Tokens that hold a part of a character: which bytes they are, and how they are shown.

A tokenizer that works on bytes cuts what is rare, as emoji and much of Chinese, into several tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

BROKEN = "\ufffd"
"""What a decoder gives for bytes that are no character."""
_FALLBACK = re.compile("<0x([0-9A-F]{2})>")


def shown(words: Sequence[str], texts: Sequence[str]) -> list[str]:
    """What each of some tokens in a row stands for: a character in the first of its tokens, nothing in the others.

    `words`: the tokens as their tokenizer writes them; `texts`: what each decodes to by itself. Joined, they are the
    text. A byte that is of no character is shown as its number: `⟨E4⟩`.
    """
    strings, start = list(texts), 0
    while start < len(texts):
        end = start
        while end < len(texts) and BROKEN in texts[end]:
            end += 1
        if end > start:
            run = zip(words[start:end], texts[start:end], strict=True)
            strings[start:end] = _by_first([_bytes_of(word, text) for word, text in run])
        start = end + 1
    return strings


def _by_first(pieces: Sequence[bytes]) -> list[str]:
    whole, owner = b"".join(pieces), [number for number, piece in enumerate(pieces) for _ in piece]
    strings, place = [""] * len(pieces), 0
    while place < len(whole):
        character, length = _character(whole[place : place + 4])
        strings[owner[place]] += character
        place += length
    return strings


def _character(start: bytes) -> tuple[str, int]:
    """The character that these bytes begin with, and how many of them it is."""
    for length in range(1, len(start) + 1):
        try:
            return start[:length].decode(), length
        except UnicodeDecodeError:
            continue
    return f"⟨{start[0]:02X}⟩", 1


def _bytes_of(word: str, text: str) -> bytes:
    if fallback := _FALLBACK.fullmatch(word):
        return bytes([int(fallback[1], 16)])
    alphabet = _alphabet()
    return bytes(alphabet[c] for c in word) if all(c in alphabet for c in word) else text.encode()


@cache
def _alphabet() -> dict[str, int]:
    """The byte that each character stands for in GPT-2's tokens: the printable ones themselves, the others from 256."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
