"""Samples that repeat each other less: tokens that many earlier samples hold are made improbable in later ones.

Source: InversionView (arXiv 2405.17653), on the sampling of factual recall; how is our own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.decoder.model import Decoder, until_end
from inversionview.decoder.sampling import Samples, in_task_tokens, sample
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Task

ROUND = 32
"""Samples of a query that are drawn together, all by what those before them held."""
REPEATED = 0.1
"""A token is held back while more than this share of the earlier samples hold it."""
HELD_BACK = math.log(0.01)
"""What is added to its logit: its odds are then a hundredth."""
COMMON = 0.05
"""Tokens that this share of the task's inputs holds are common words (or commas, or digits), never held back."""
PRIOR_DRAWS = 1000


def common_tokens(decoder: Decoder, task: Task) -> Bool[Tensor, " own_vocab"]:
    """Which of a decoder's own tokens are common in the task's training inputs; begin, end and padding are."""
    tokens = task.sample(PRIOR_DRAWS, generator=Generator().manual_seed(0), split="train")
    config, own = decoder.config, decoder.adapter.to_own(tokens).tokens
    common = holders(own, config.end, config.vocab_size) >= COMMON * len(own)
    common[[config.begin, config.end, config.pad]] = True
    return common


def holders(tokens: Tokens, end: int, vocab_size: int) -> Int[Tensor, " vocab"]:
    """How many of some inputs hold each token, at whatever position and however often."""
    held = torch.where(until_end(tokens, end) > 0, tokens, tokens[:, :1])
    row = torch.arange(len(held), device=held.device)[:, None] * vocab_size
    return torch.bincount(torch.unique(row + held) % vocab_size, minlength=vocab_size)


@torch.no_grad()
def sample_varied(
    decoder: Decoder,
    activations: Float[Tensor, "query d_activation"],
    site_index: Positions,
    n: int,
    *,
    common: Bool[Tensor, " own_vocab"],
    cosines: Sequence[float] = (),
    temperature: float = 1.0,
    generator: Sequence[Generator],
) -> Samples:
    """Draw `n` inputs for each query in rounds, each of which holds back what those before it repeated.

    With `cosines`, each round takes activations at the next one of them from the query's, in turn. No draw's density is
    known; `log_prob` is as in `sample`. What is drawn for a query does not depend on the queries beside it.
    """
    config, device = decoder.config, activations.device
    held = torch.zeros(len(activations), config.vocab_size, device=device)
    common = common.to(device)
    rounds: list[Samples] = []
    for start in range(0, n, ROUND):
        bias = torch.where((held > REPEATED * start) & ~common, HELD_BACK, 0.0) if start else None
        drawn = sample(
            decoder,
            activations,
            site_index,
            min(ROUND, n - start),
            temperature=temperature,
            cosine=cosines[len(rounds) % len(cosines)] if cosines else None,
            bias=bias,
            own_tokens=True,
            generator=generator,
        )
        held += torch.stack([holders(rows, config.end, config.vocab_size) for rows in drawn.tokens])
        rounds.append(drawn)
    return in_task_tokens(decoder, Samples(*(torch.cat(parts, dim=1) for parts in zip(*rounds, strict=True))))
