"""Sources that look beside the activation, as the paper does for factual recall: none has a known density.

Activations at a fixed cosine from the query's, with random norms, and samples that are kept from repeating each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from inversionview.decoder.model import Decoder
from inversionview.decoder.sampling import common_tokens, sample_varied
from inversionview.errors import UserError
from inversionview.preimage.sources.proposals import DecoderSource, Draws
from inversionview.results.preimage import Query
from inversionview.tasks.base import Task

COSINES = (0.9, 0.85, 0.8, 0.75)
"""Those of the published code."""


@dataclass(frozen=True)
class VariedSource:
    """Samples of the decoder that hold back tokens which earlier ones repeated too often, unless they are common."""

    decoder: Decoder
    n: int
    """Draws a query."""
    common: Bool[Tensor, " class"]
    """Which of the decoder's classes are never held back; see `common_tokens`."""
    cosines: tuple[float, ...] = ()
    """Cosines from the query's activation at which each round's are taken, in turn; empty for the query's own."""

    @property
    def name(self) -> str:
        """`decoder varied`, with the cosines where there are some."""
        return "decoder varied" + (f", cosine {'/'.join(f'{c:g}' for c in self.cosines)}" if self.cosines else "")

    @property
    def density(self) -> None:
        """There is none: a draw depends on those before it."""

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw `n` inputs for every query."""
        device = next(self.decoder.parameters()).device
        index = torch.tensor([self.decoder.config.sites.index(query.site) for query in queries], device=device)
        drawn = sample_varied(
            self.decoder,
            activations.to(device),
            index,
            self.n,
            common=self.common,
            cosines=self.cosines,
            generator=generators,
        )
        return Draws(drawn.tokens.cpu(), drawn.log_prob.cpu())


def widened_sources(name: str, decoder: Decoder, task: Task, n: int) -> list[DecoderSource | VariedSource]:
    """The sources that `cosine`, `cosine:0.9`, `varied`, `varied:0.9` and `varied:cosine` ask for, `n` draws together.

    Raises `UserError` for a cosine that is none.
    """
    kind, _, given = name.partition(":")
    if kind == "varied":
        cosines = COSINES if given == "cosine" else (_cosine(given, name),) if given else ()
        return [VariedSource(decoder, n, common_tokens(decoder, task), cosines)]
    cosines = (_cosine(given, name),) if given else COSINES
    shares = [n // len(cosines) + (i < n % len(cosines)) for i in range(len(cosines))]
    return [DecoderSource(decoder, share, cosine=c) for c, share in zip(cosines, shares, strict=True) if share]


def _cosine(given: str, name: str) -> float:
    try:
        cosine = float(given)
    except ValueError:
        cosine = float("nan")
    if not 0 < cosine < 1:
        raise UserError(f"a cosine must be above 0 and below 1, such as {name.partition(':')[0]}:0.9, not {given!r}")
    return cosine
