"""The named features of a sentence of indirect object identification, and which are held out, by hashes of words."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Feature
from inversionview.tasks.ioi.frames import Frames, Sentences
from inversionview.tasks.listed import smallest_hashes, token_feature

PAIRS_HELD_OUT, PHRASES_HELD_OUT = 0.15, 0.1
"""Shares of the pairs of names, and of the combinations of opening, ending, place and object."""
HELD_OUT = ("no", "pair", "phrases", "both")
MOST_NAMES = 40
"""Of more names there are too many pairs for a feature, whose values are counted one by one."""


def ioi_features(frames: Frames, held_out: Callable[[Sentences], Positions], max_length: int) -> dict[str, Feature]:
    """All of them, by name; `held_out` gives which part of a sentence was held out, as `HELD_OUT` names it."""
    endings = len(frames.phrases.endings)
    indices = tuple(str(t) for t in range(max_length))
    first, second = frames.slots[:, 0], frames.slots[:, 1]
    read = _read_once(frames)

    def made(name: str, values: tuple[str, ...], code: Callable[[Sentences], Positions], about: str) -> Feature:
        return Feature(name, values, lambda x, t: code(read(x)), about)

    def one_of(s_first: Positions, frame: Positions, *, s: bool) -> Positions:
        is_first = (s_first > 0) == s
        return torch.where(is_first, first.to(frame.device)[frame], second.to(frame.device)[frame])

    features = [
        made("IO", frames.names, lambda x: x.io, "the name that the model has to say"),
        made("S", frames.names, lambda x: x.s, "the other name"),
        made("order", ("IO first", "S first"), lambda x: x.s_first, "which name the opening has first"),
        made("place", frames.places, lambda x: x.place, "where it is"),
        made("object", frames.objects, lambda x: x.object, "what is given"),
        made("template", frames.templates, lambda x: x.frame, "opening and ending"),
        made("opening", frames.phrases.openings, lambda x: x.frame // endings, "how it begins, up to S2's clause"),
        made("ending", frames.phrases.endings, lambda x: x.frame % endings, "how it goes on"),
        made("IO position", indices, lambda x: one_of(x.s_first, x.frame, s=False), "where IO stands first"),
        made("S1 position", indices, lambda x: one_of(x.s_first, x.frame, s=True), "where S stands first"),
        made("held out", HELD_OUT, held_out, "what of it is seen in no training: names, phrases, both"),
        token_feature(frames.vocabulary, frames.used),
        Feature("position", indices, lambda x, t: t, "the index of the position"),
    ]
    if len(frames.names) <= MOST_NAMES:
        features.insert(2, made("names", *_pairs(frames.names), "which two names, in whichever part"))
    return {feature.name: feature for feature in features}


def _read_once(frames: Frames) -> Callable[[Tokens], Sentences]:
    """What sentences say, without reading the same tensor again: features are asked for one after the other."""
    last: list[tuple[Tokens, int, Sentences]] = []

    def read(tokens: Tokens) -> Sentences:
        if tokens.is_inference():  # which do not tell whether they were changed
            return frames.read(tokens)[0]
        for rows, version, sentences in last:
            if rows is tokens and version == tokens._version:
                return sentences
        sentences = frames.read(tokens)[0]
        last[:] = [(tokens, tokens._version, sentences)]
        return sentences

    return read


def _pairs(names: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[Sentences], Positions]]:
    """All pairs of names, and which one a sentence has."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    numbers = torch.zeros(len(names), len(names), dtype=torch.long)
    for number, (one, other) in enumerate(pairs):
        numbers[one, other] = numbers[other, one] = number
    return tuple(f"{names[i]}, {names[j]}" for i, j in pairs), lambda x: numbers.to(x.io.device)[x.io, x.s]


def pairs_held_out(frames: Frames) -> Bool[Tensor, "name name"]:
    """Which pairs of names, whatever part each plays."""
    pairs = [(i, j) for i in range(len(frames.names)) for j in range(i)]
    keys = [" and ".join(sorted((frames.names[i], frames.names[j]))) for i, j in pairs]
    held_out = torch.zeros(len(frames.names), len(frames.names), dtype=torch.bool)
    for one in smallest_hashes(keys, PAIRS_HELD_OUT):
        held_out[pairs[one]] = held_out[pairs[one][::-1]] = True
    return held_out


def phrases_held_out(frames: Frames) -> Bool[Tensor, "frame place object"]:
    """Which combinations of opening, ending, place and object."""
    keys = [
        f"{template} {place} {thing}"
        for template in frames.templates
        for place in frames.places
        for thing in frames.objects
    ]
    held_out = torch.zeros(len(keys), dtype=torch.bool)
    held_out[smallest_hashes(keys, PHRASES_HELD_OUT)] = True
    return held_out.view(len(frames.templates), len(frames.places), len(frames.objects))
