"""Features of free text that need no labels."""

from __future__ import annotations

from collections.abc import Callable

import torch

from inversionview.shapes import OneInput, Positions, Tokens
from inversionview.tasks.base import Feature
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.tasks.words import ends

OFFSETS = (0, -1, -2)


def window_features(
    vocabulary: Vocabulary, max_length: int, position_of: Callable[[Tokens, str], Positions]
) -> dict[str, Feature]:
    """The tokens at and before a position, the position itself, and how many tokens the text has."""
    numbers = tuple(str(i) for i in range(max_length))
    names = _token_names(vocabulary)
    features = [_token_at(offset, names) for offset in OFFSETS]
    features += [
        Feature("position", numbers, lambda tokens, positions: positions, "the index of the position"),
        Feature("length", numbers, lambda tokens, positions: position_of(tokens, "last"), "tokens of the text"),
    ]
    return {feature.name: feature for feature in features}


def word_feature(word: str, vocabulary: Vocabulary, decode: Callable[[OneInput], str]) -> Feature:
    """Whether the text holds a whole word, or several in a row."""

    def compute(tokens: Tokens, positions: Positions) -> Positions:
        return torch.tensor([bool(ends(decode(row), word)) for row in tokens], dtype=torch.long)

    return Feature(f"has:{word}", ("no", "yes"), compute, f"whether {word!r} occurs")


def _token_at(offset: int, names: tuple[str, ...]) -> Feature:
    none = len(names) - 1

    def compute(tokens: Tokens, positions: Positions) -> Positions:
        at = positions + offset
        there = tokens.gather(1, at.clamp_min(0)[:, None])[:, 0]
        return torch.where(at >= 1, there, none)

    about = "the token at the position" if not offset else f"the token {-offset} before the position"
    return Feature(f"token{offset or ''}", names, compute, about)


def _token_names(vocabulary: Vocabulary) -> tuple[str, ...]:
    """One name a token, all different, and "none" at the end."""
    seen: dict[str, int] = {}
    names = []
    for token, name in enumerate(map(repr, vocabulary.names)):
        names.append(name if name not in seen else f"{name} ({token})")
        seen[name] = token
    return (*names, "none")
