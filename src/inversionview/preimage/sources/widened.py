"""Sources that look beside the activation, as the paper does for factual recall: none has a known density.

Activations at a fixed cosine from the query's, with random norms, and samples that are kept from repeating each other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from inversionview.decoder.model import Decoder
from inversionview.decoder.sampling import Samples, common_tokens, sample_unrepeated, sample_varied
from inversionview.errors import UserError
from inversionview.preimage.sources.frequencies import FREQUENT, frequent_tokens
from inversionview.preimage.sources.proposals import DecoderSource, Draws
from inversionview.results.preimage import Query
from inversionview.shapes import Positions
from inversionview.tasks.base import Task

_log = logging.getLogger(__name__)

COSINES = (0.9, 0.85, 0.8, 0.75)
"""Those of the published code."""


class Frequencies(NamedTuple):
    """Where it is said how often tokens occur, and from how often on one may repeat; see `frequent_tokens`."""

    source: Path
    least: int = FREQUENT


@dataclass(frozen=True)
class _InRounds:
    """Samples of the decoder in rounds, each of which knows those before it."""

    decoder: Decoder
    n: int
    """Draws a query."""
    spared: Bool[Tensor, " class"]
    """Which of the decoder's classes may repeat as they like."""
    cosines: tuple[float, ...] = ()
    """Cosines from the query's activation at which each round's are taken, in turn; empty for the query's own."""
    word: ClassVar[str]

    @property
    def name(self) -> str:
        """Such as `decoder varied`, with the cosines where there are some."""
        return f"decoder {self.word}" + (f", cosine {'/'.join(f'{c:g}' for c in self.cosines)}" if self.cosines else "")

    @property
    def density(self) -> None:
        """There is none: a draw depends on those before it."""

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw `n` inputs for every query."""
        device = next(self.decoder.parameters()).device
        index = torch.tensor([self.decoder.config.sites.index(query.site) for query in queries], device=device)
        drawn = self._sample(activations.to(device), index, generators)
        return Draws(drawn.tokens.cpu(), drawn.log_prob.cpu())

    def _sample(
        self, activations: Float[Tensor, "query width"], index: Positions, generators: Sequence[Generator]
    ) -> Samples:
        raise NotImplementedError


@dataclass(frozen=True)
class VariedSource(_InRounds):
    """Our own way: tokens that earlier samples repeated too often are held back, unless the task has them often."""

    word = "varied"

    def _sample(
        self, activations: Float[Tensor, "query width"], index: Positions, generators: Sequence[Generator]
    ) -> Samples:
        return sample_varied(
            self.decoder, activations, index, self.n, common=self.spared, cosines=self.cosines, generator=generators
        )


@dataclass(frozen=True)
class UnrepeatedSource(_InRounds):
    """The paper's way: a token that a position had more than 5 times is barred from it, unless it is frequent."""

    word = "unrepeated"

    def _sample(
        self, activations: Float[Tensor, "query width"], index: Positions, generators: Sequence[Generator]
    ) -> Samples:
        return sample_unrepeated(
            self.decoder, activations, index, self.n, frequent=self.spared, cosines=self.cosines, generator=generators
        )


def widened_sources(
    name: str, decoder: Decoder, task: Task, n: int, frequencies: Frequencies | None = None
) -> list[DecoderSource | VariedSource | UnrepeatedSource]:
    """The sources that `cosine`, `varied`, `unrepeated`, and `cosine:0.9` and the like ask for, `n` draws together.

    The last two also take `:cosine`, which is the paper's four in turn. `unrepeated` spares the tokens that are
    frequent by `frequencies`; without any, those that `varied` spares, which is said. Raises `UserError` for a cosine
    that is none.
    """
    kind, _, given = name.partition(":")
    if kind in ("varied", "unrepeated"):
        cosines = COSINES if given == "cosine" else (_cosine(given, name),) if given else ()
        if kind == "varied":
            return [VariedSource(decoder, n, common_tokens(decoder, task), cosines)]
        # In the published code's order: the widest first.
        return [UnrepeatedSource(decoder, n, _frequent(decoder, task, frequencies), cosines[::-1])]
    cosines = (_cosine(given, name),) if given else COSINES
    shares = [n // len(cosines) + (i < n % len(cosines)) for i in range(len(cosines))]
    return [DecoderSource(decoder, share, cosine=c) for c, share in zip(cosines, shares, strict=True) if share]


def _frequent(decoder: Decoder, task: Task, frequencies: Frequencies | None) -> Bool[Tensor, " class"]:
    if frequencies is not None:
        return frequent_tokens(decoder, task, *frequencies)
    _log.warning(
        "no frequencies of tokens are given, so those that one in twenty of the task's own inputs holds may repeat: "
        "give counts, or texts to count in (--frequencies)"
    )
    return common_tokens(decoder, task)


def _cosine(given: str, name: str) -> float:
    try:
        cosine = float(given)
    except ValueError:
        cosine = float("nan")
    if not 0 < cosine < 1:
        raise UserError(f"a cosine must be above 0 and below 1, such as {name.partition(':')[0]}:0.9, not {given!r}")
    return cosine
