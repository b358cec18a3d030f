"""Texts sampled from the probed model, and how probable each is: the model is then its own prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.shapes import PerInput, Tokens
from inversionview.tasks.positions import first_end
from inversionview.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

_FULL_SHARE = 0.5
"""Share of the texts that are as long as can be; the lengths of the others are uniform."""
_MOST_LOGITS = 2**26
"""Logits that are held at once; a text takes one a position and token of the vocabulary."""
_MOST_ROWS = 1024
_TRIAL_TEXTS, _TRIAL_TOKENS = 1024, 64
_SENTENCE_ENDS = (".", "!", "?", "\n")


class Starts(NamedTuple):
    """With which tokens texts begin."""

    log_probs: Float[Tensor, " vocab"]
    """Minus infinity for special tokens alone."""

    @classmethod
    def of(cls, probed: ProbedModel, vocabulary: Vocabulary, generator: Generator) -> Starts:
        """Of what follows a sentence in texts sampled from the model; every token has half an occurrence more."""
        begun = torch.full((_TRIAL_TEXTS, 1), vocabulary.begin)
        texts = _continued(probed, vocabulary, begun, min(_TRIAL_TOKENS, probed.max_length - 1), generator)
        counts = torch.full((vocabulary.size,), 0.5)
        ends = torch.tensor([vocabulary.text([t]).endswith(_SENTENCE_ENDS) for t in range(vocabulary.size)])
        after = texts[:, 2:][ends[texts[:, 1:-1]]]
        counts += torch.bincount(after, minlength=vocabulary.size)
        counts[sorted(vocabulary.special)] = 0
        return cls((counts / counts.sum()).log())


def block_rows(width: int, vocab_size: int) -> int:
    """How many texts are run together, by the memory that the logits of `width` of their positions take."""
    return max(1, min(_MOST_ROWS, _MOST_LOGITS // (width * vocab_size)))


def sample_texts(
    probed: ProbedModel, vocabulary: Vocabulary, starts: Starts, *, n: int, width: int, generator: Generator
) -> Tokens:
    """Draw `n` inputs [n, width]; half of them as long as `width` allows."""
    most = width - 2
    short = torch.rand(n, generator=generator) >= _FULL_SHARE
    lengths = torch.where(short, torch.randint(1, most + 1, (n,), generator=generator), most)
    first = torch.multinomial(starts.log_probs.exp(), n, replacement=True, generator=generator)
    begun = torch.stack([torch.full((n,), vocabulary.begin), first], dim=1)
    texts = torch.cat(
        [
            _continued(probed, vocabulary, rows, width - 1, generator)
            for rows in torch.split(begun, block_rows(1, vocabulary.size))
        ]
    )
    place = torch.arange(width)
    wide = torch.nn.functional.pad(texts, (0, 1), value=vocabulary.end)
    wide = torch.where(place == lengths[:, None] + 1, vocabulary.end, wide)
    return torch.where(place > lengths[:, None] + 1, vocabulary.pad, wide)


@torch.no_grad()
def log_density(probed: ProbedModel, vocabulary: Vocabulary, starts: Starts, tokens: Tokens, width: int) -> PerInput:
    """log p(x) [batch] in nats of well-formed inputs of at most `width` positions, as `sample_texts` draws them."""
    ends = first_end(tokens, vocabulary.end)
    lengths, most = ends - 1, width - 2
    chance = torch.full((len(tokens),), (1 - _FULL_SHARE) / most)
    chance[lengths == most] += _FULL_SHARE
    logits = probed.logits(tokens[:, : int(ends.max())]).float().cpu()[..., : vocabulary.size]
    log_probs = _without_special(logits, vocabulary).log_softmax(-1)
    picked = log_probs[:, 1:-1].gather(2, tokens[:, 2 : log_probs.shape[1], None])[..., 0]
    place = torch.arange(2, log_probs.shape[1])
    spoken = picked.masked_fill(place >= ends[:, None], 0.0).double().sum(dim=1)
    return (chance.log() + starts.log_probs[tokens[:, 1]] + spoken).float()


def _without_special(logits: Tensor, vocabulary: Vocabulary) -> Tensor:
    logits[..., sorted(vocabulary.special)] = -torch.inf
    return logits


@torch.no_grad()
def _continued(
    probed: ProbedModel, vocabulary: Vocabulary, begun: Tokens, width: int, generator: Generator
) -> Int[Tensor, "batch longer"]:
    """What the model goes on with at temperature 1, up to `width` tokens, never with a special one.

    The library's own sampling takes its randomness from torch's global generator, and would take it from the device's.
    """
    rows, past = begun, None
    while rows.shape[1] < width:
        unseen = rows if past is None else rows[:, -1:]
        logits, past = probed.next_logits(unseen, past)
        logits = logits[:, : vocabulary.size].float().cpu()
        probabilities = _without_special(logits, vocabulary).softmax(-1)
        rows = torch.cat([rows, torch.multinomial(probabilities, 1, generator=generator)], dim=1)
    return rows
