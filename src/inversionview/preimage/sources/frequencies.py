"""Which tokens are too frequent in a language to be kept from repeating, by counts or by texts that are given."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inversionview.decoder.model import Decoder
from inversionview.decoder.tokens import Retokenised
from inversionview.errors import UserError
from inversionview.progress import advance, stage
from inversionview.tasks.base import Task
from inversionview.tasks.text.files import iter_texts
from inversionview.tasks.vocabulary import Vocabulary

FREQUENT = 50_000
"""Times that a token occurs in MiniPile from which on the paper does not count it."""
_TOGETHER = 1000


def frequent_tokens(decoder: Decoder, task: Task, source: Path, least: int = FREQUENT) -> Bool[Tensor, " class"]:
    """Which of a decoder's classes occur `least` times or more; begin, end, padding and the class of others do.

    `source`: a JSON list with a count for each of the decoder's own tokens, in their order, such as the published code
    makes of MiniPile; or texts, as `train` takes them, in which the tokens are counted. A token that the list does not
    reach, such as one that was added to the vocabulary, is as if frequent. Raises `UserError` for anything else.
    """
    if least < 1:
        raise UserError(f"frequent must be at least 1, such as {FREQUENT:,}, not {least}")
    config, vocabulary = decoder.config, getattr(task, "vocabulary", None)
    if isinstance(decoder.adapter, Retokenised):
        vocabulary = decoder.adapter.own
    counts = _listed(source)
    if counts is None:
        if not isinstance(vocabulary, Vocabulary):
            raise UserError(f"the tokens of {task.name} are none of texts: leave out the frequencies")
        counts = _counted(vocabulary, iter_texts(str(source)))
    size = config.vocab_size
    if len(counts) > size:
        raise UserError(f"{source} has {len(counts):,} counts, and the decoder has {size:,} tokens: they are of others")
    frequent = torch.ones(size, dtype=torch.bool)
    frequent[: len(counts)] = counts >= least
    frequent[[config.begin, config.end, config.pad]] = True
    classes = torch.ones(config.classes, dtype=torch.bool)
    written = torch.tensor(decoder.classes.written)
    classes[: len(written)] = frequent[written]
    return classes


def _listed(source: Path) -> Int[Tensor, " token"] | None:
    """The counts of a JSON list of numbers; None for what is none."""
    if source.suffix.lower() != ".json" or not source.is_file():
        return None
    try:
        listed = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{source} is not JSON: {error}") from error
    if not isinstance(listed, list) or not listed or not all(type(count) is int for count in listed):
        return None
    return torch.tensor(listed)


def _counted(vocabulary: Vocabulary, texts: Iterable[str]) -> Int[Tensor, " token"]:
    counts = torch.zeros(vocabulary.size, dtype=torch.long)
    with stage("counting tokens, in texts"):
        remaining = iter(texts)
        while some := list(islice(remaining, _TOGETHER)):
            for ids in vocabulary.all_ids(some):
                counts += torch.bincount(torch.tensor(ids, dtype=torch.long), minlength=len(counts))
            advance(len(some))
    return counts
