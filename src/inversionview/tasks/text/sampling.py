"""Texts sampled from the probed model, and how probable each is: the model is then its own prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.progress import advance, stage
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
_TRIAL_TEXTS, _FEWEST_TRIALS, _TRIAL_TOKENS = 1024, 128, 64
_UNSEEN = 512
"""Tokens of the vocabulary that have half an occurrence more; of a larger one all tokens share as much."""
SMALL = 10_000_000
"""Weights of a model up to which as much is sampled from it as is wanted."""
_SENTENCE_ENDS = (".", "!", "?", "\n")


class Starts(NamedTuple):
    """With which tokens texts begin."""

    log_probs: Float[Tensor, " vocab"]
    """Minus infinity for special tokens alone."""

    @classmethod
    def of(cls, probed: ProbedModel, vocabulary: Vocabulary, generator: Generator) -> Starts:
        """Of what follows a sentence in texts sampled from the model, fewer from a large one.

        Every token has half an occurrence more, and less in a large vocabulary, so that what was seen counts most.
        """
        n, width = affordable(_TRIAL_TEXTS, _FEWEST_TRIALS, probed), min(_TRIAL_TOKENS, probed.max_length - 1)
        with stage("sampling a table of first tokens, in tokens", n * (width - 1)):
            blocks = torch.split(torch.full((n, 1), vocabulary.begin), block_rows(1, vocabulary.size))
            texts = torch.cat([_continued(probed, vocabulary, rows, width, generator) for rows in blocks])
        unseen = 0.5 * n / _TRIAL_TEXTS * min(1, _UNSEEN / vocabulary.size)
        counts = torch.full((vocabulary.size,), unseen)
        ends = torch.tensor([name.endswith(_SENTENCE_ENDS) for name in vocabulary.names])
        after = texts[:, 2:][ends[texts[:, 1:-1]]]
        counts += torch.bincount(after, minlength=vocabulary.size)
        counts[sorted(vocabulary.special)] = 0
        return cls((counts / counts.sum()).log())


def block_rows(width: int, vocab_size: int) -> int:
    """How many texts are run together, by the memory that the logits of `width` of their positions take."""
    return max(1, min(_MOST_ROWS, _MOST_LOGITS // (width * vocab_size)))


def affordable(most: int, least: int, probed: ProbedModel) -> int:
    """How many of what is wanted `most` times are sampled, at least some: fewer the larger the model is."""
    weights = sum(parameter.numel() for parameter in probed.model.parameters())
    return most if weights <= SMALL else min(most, max(least, most * SMALL // weights))


def sample_texts(
    probed: ProbedModel, vocabulary: Vocabulary, starts: Starts, *, n: int, width: int, generator: Generator
) -> Tokens:
    """Draw `n` inputs [n, width]; half of them as long as `width` allows."""
    most = width - 2
    short = torch.rand(n, generator=generator) >= _FULL_SHARE
    lengths = torch.where(short, torch.randint(1, most + 1, (n,), generator=generator), most)
    first = torch.multinomial(starts.log_probs.exp(), n, replacement=True, generator=generator)
    begun = torch.stack([torch.full((n,), vocabulary.begin), first], dim=1)
    # The shortest first: a block of texts is written as far as its longest goes.
    blocks = torch.split(lengths.argsort(stable=True), block_rows(1, vocabulary.size))
    longest = [int(lengths[block[-1]]) for block in blocks]
    drawn = torch.full((n, width), vocabulary.end)
    with stage("sampling texts, in tokens", sum(len(b) * (end - 1) for b, end in zip(blocks, longest, strict=True))):
        for block, end in zip(blocks, longest, strict=True):
            drawn[block, : end + 1] = _continued(probed, vocabulary, begun[block], end + 1, generator)
    place = torch.arange(width)
    drawn = torch.where(place == lengths[:, None] + 1, vocabulary.end, drawn)
    return torch.where(place > lengths[:, None] + 1, vocabulary.pad, drawn)


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
        rows = torch.cat([rows, _picked(probabilities, generator)], dim=1)
        advance(len(rows))
    return rows


def _picked(probabilities: Float[Tensor, "batch vocab"], generator: Generator) -> Int[Tensor, "batch 1"]:
    """A token of each row, by one uniform number a row: `torch.multinomial` takes one a token, which costs much.

    In fp64, since a 50,000-way cumulative sum in fp32 loses the rare tokens.
    """
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    uniform = torch.rand(len(cumulative), 1, dtype=torch.float64, generator=generator)
    # To the right: a uniform of 0 must not pick a first token whose probability is 0.
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return found.clamp(max=probabilities.shape[1] - 1)
