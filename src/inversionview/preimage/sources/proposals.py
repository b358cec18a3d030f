"""Where candidates come from. What a source proposes counts for nothing until it is verified."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.decoder.model import Decoder
from inversionview.decoder.sampling import Samples, sample
from inversionview.errors import UserError
from inversionview.results.estimates import GIVEN
from inversionview.results.preimage import Query
from inversionview.shapes import InputMask, PerPosition
from inversionview.tasks.base import Conditional, Task

_BLOCK = 4096
"""Draws of one query that are generated together; more would need memory in proportion."""


class AlreadyRun(NamedTuple):
    """What is known of candidates that were run before, so that they need not be run again."""

    rows: InputMask
    """Which of the candidates."""
    distances: PerPosition
    """`[candidate, pos]`; NaN where a distance is not known, and in all other candidates."""


class Draws(NamedTuple):
    """What one source drew for each query, repeats included, on the CPU."""

    tokens: Int[Tensor, "query candidate pos"]
    log_prob: Float[Tensor, "query candidate"]
    """Under the decoder at temperature 1 given the query activation; NaN where the source does not know it."""
    token_log_probs: Float[Tensor, "query candidate pos temperature"] | None = None
    """The same of each token given those before it, at the temperatures that were asked for; None where not known."""


@dataclass(frozen=True)
class DecoderDensity:
    """q(x) is the decoder's probability of x given the query activation, every step's logits over `temperature`."""

    temperature: float = 1.0


@dataclass(frozen=True)
class PriorDensity:
    """q(x) is the task's prior p(x), whatever the activation."""


@dataclass(frozen=True)
class GivenDensity:
    """q(x) is the task's prior, given that x shares `condition` with the query: p(x) over the mass of what does."""

    condition: str


Density = DecoderDensity | PriorDensity | GivenDensity


@runtime_checkable
class Source(Protocol):
    """One way to propose inputs for activations."""

    @property
    def name(self) -> str:
        """What the results call it."""
        ...

    @property
    def density(self) -> Density | None:
        """How probable each of its draws was, all drawn independently; None where that is not known."""
        ...

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw for every query, whose randomness comes from its own generator alone."""
        ...


@dataclass(frozen=True)
class DecoderSource:
    """Samples of the decoder at one temperature, given the activation, or one that is a little off."""

    decoder: Decoder
    n: int
    """Draws a query."""
    temperature: float = 1.0
    noise: float = 0.0
    """Standard deviation of the noise, in units of the normalised activation's."""
    cosine: float | None = None
    """Each draw's activation is another one at this cosine from the query's, of random norm; see `at_cosine`."""
    scored: tuple[float, ...] = ()
    """Temperatures of the draws' `token_log_probs`."""

    @property
    def name(self) -> str:
        """`decoder t=1`, with the noise or the cosine where there is one."""
        noise = f", noise {self.noise:g}" if self.noise else ""
        return f"decoder t={self.temperature:g}{noise}" + ("" if self.cosine is None else f", cosine {self.cosine:g}")

    @property
    def density(self) -> DecoderDensity | None:
        """The decoder's at this temperature; not known of moved activations, which would have to be integrated over."""
        return None if self.noise or self.cosine is not None else DecoderDensity(self.temperature)

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw `n` inputs for every query."""
        device = next(self.decoder.parameters()).device
        index = torch.tensor([self.decoder.config.sites.index(query.site) for query in queries], device=device)
        drawn = [
            sample(
                self.decoder,
                activations.to(device),
                index,
                n,
                temperature=self.temperature,
                noise=self.noise,
                cosine=self.cosine,
                scored=self.scored,
                generator=generators,
            )
            for n in _blocks(self.n)
        ]
        tokens, log_prob, scores = Samples.joined(drawn, dim=1)
        return Draws(tokens.cpu(), log_prob.cpu(), None if scores is None else scores.cpu())


@dataclass(frozen=True)
class PriorSource:
    """Inputs from the task's prior, which owe nothing to the activation."""

    task: Task
    n: int
    """Draws a query."""
    name: str = "prior"

    @property
    def density(self) -> PriorDensity:
        """The prior itself."""
        return PriorDensity()

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw `n` inputs for every query."""
        tokens = torch.stack([self.task.sample(self.n, generator=generator) for generator in generators])
        return Draws(tokens, torch.full(tokens.shape[:2], torch.nan))


@dataclass(frozen=True)
class PriorGivenSource:
    """Inputs from the task's prior that share something with the query's input."""

    task: Conditional
    condition: str
    n: int
    """Draws a query."""

    @property
    def name(self) -> str:
        """`prior given asked`."""
        return f"{GIVEN}{self.condition}"

    @property
    def density(self) -> GivenDensity:
        """The prior's, given the condition."""
        return GivenDensity(self.condition)

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw `n` inputs for every query."""
        for query in queries:
            query.needed_input(self.name)
        drawn = [
            self.task.sample_given(self.condition, torch.tensor(query.tokens), self.n, generator=generator)
            for query, generator in zip(queries, generators, strict=True)
        ]
        tokens = torch.stack(drawn)
        return Draws(tokens, torch.full(tokens.shape[:2], torch.nan))


def given_sources(task: Task, name: str, n: int) -> list[PriorGivenSource]:
    """The sources that `given:NAME` asks for, or all that `given` does, sharing `n` draws a query.

    Raises `UserError` that says which there are, for a name that is none or a task that has none.
    """
    if not isinstance(task, Conditional):
        raise UserError(f"{task.name} cannot draw from its prior given what inputs share: leave out {name}")
    names = list(task.conditions) if name == "given" else [name.removeprefix("given:")]
    if unknown := [one for one in names if one not in task.conditions]:
        there_are = ", ".join(f"given:{one}" for one in task.conditions)
        raise UserError(f"{task.name} has no condition {unknown[0]!r}: use given, or {there_are}")
    shares = [n // len(names) + (i < n % len(names)) for i in range(len(names))]
    return [PriorGivenSource(task, one, share) for one, share in zip(names, shares, strict=True) if share]


def _blocks(n: int) -> list[int]:
    """Sizes that add up to `n`; of a query alone, so that its draws do not depend on the queries beside it."""
    return [_BLOCK] * (n // _BLOCK) + ([n % _BLOCK] if n % _BLOCK else [])


def ladder(
    decoder: Decoder, n: int, temperatures: Sequence[float] = (1.0,), noise: Sequence[float] = (0.0,)
) -> list[DecoderSource]:
    """Share `n` draws a query evenly among all pairs of a temperature and a noise, the first ones taking what is over.

    Raises `UserError` for a temperature that is not above 0, a negative noise, or fewer draws than pairs.
    """
    pairs = _settings(temperatures, noise)
    if n < len(pairs):
        raise UserError(f"n must be at least {len(pairs)}, one draw for each setting of the decoder, not {n}")
    shares = [n // len(pairs) + (i < n % len(pairs)) for i in range(len(pairs))]
    return [DecoderSource(decoder, share, *pair) for share, pair in zip(shares, pairs, strict=True)]


def mixture(
    decoder: Decoder | None,
    task: Task,
    n: int,
    temperatures: Sequence[float] = (1.0,),
    *,
    noise: Sequence[float] = (0.0,),
    prior_share: float = 0.1,
) -> list[Source]:
    """Share `n` draws a query between the prior and the decoder's `ladder`, which gets what the prior leaves.

    Draws from the prior bound the importance weights: p(x) / q(x) is then at most 1 / `prior_share`. Any share above 0
    gives at least one; without a decoder all are the prior's.
    Raises `UserError` for a share that is not from 0 up to, and without, 1, too few draws, or what `ladder` refuses.
    """
    if not 0 <= prior_share < 1:
        raise UserError(f"the prior's share must be at least 0 and below 1, such as 0.1, not {prior_share:g}")
    if decoder is None:
        if n < 1:
            raise UserError(f"n must be at least 1, such as 1000, not {n}")
        return [PriorSource(task, n)]
    n_prior = max(1, round(prior_share * n)) if prior_share else 0
    pairs = _settings(temperatures, noise)
    if n - n_prior < len(pairs):
        raise UserError(
            f"n is {n}, and with {n_prior} for the prior too few are left: the decoder needs {len(pairs)}, "
            "one draw for each of its settings"
        )
    prior = [PriorSource(task, n_prior)] if n_prior else []
    return [*ladder(decoder, n - n_prior, temperatures, noise), *prior]


def _settings(temperatures: Sequence[float], noise: Sequence[float]) -> list[tuple[float, float]]:
    """The distinct pairs of a temperature and a noise."""
    for name, values, right in (("temperature", temperatures, "above 0"), ("noise", noise, "0 or more")):
        for value in values:
            if not math.isfinite(value) or value < 0 or (name == "temperature" and value == 0):
                raise UserError(f"{name} must be {right}, not {value:g}")
        if not values:
            raise UserError(f"give at least one {name}")
    return list(dict.fromkeys(product(temperatures, noise)))


def query_generator(seed: int, source: str, query: Query) -> Generator:
    """The random stream of one source for one query, the same whatever else is asked in the same call."""
    identity = repr((seed, source, query.site, query.position, query.tokens, *(query.vector or ()))).encode()
    digest = hashlib.blake2b(identity, digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
