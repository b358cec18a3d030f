"""A small domain with conditions and one part of it, to check what is drawn given a condition against the truth."""

from __future__ import annotations

import functools

import torch

from tests.preimage.tiny import FewSums


class GivenSums(FewSums):
    """Sums that can be drawn given their first number, or whether they have four digits."""

    conditions = {"first": "the first number", "digits": "how many digits the sum has"}  # noqa: RUF012

    neighbourhood = "digits"

    def agrees(self, name: str, tokens: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        if name == "first":
            return (others[:, 1:4] == tokens[1:4]).all(dim=1)
        return (others[:, 12] == 13) == (len(tokens) == 13 or tokens[12] == 13)

    def log_mass(self, name: str, tokens: torch.Tensor) -> float:
        same = self.agrees(name, tokens, self.rows)
        return self.log_prior(self.rows[same]).double().logsumexp(0).item()

    def sample_given(self, name: str, tokens: torch.Tensor, n: int, *, generator: torch.Generator) -> torch.Tensor:
        same = self.rows[self.agrees(name, tokens, self.rows)]
        chosen = torch.multinomial(self.log_prior(same).double().exp(), n, replacement=True, generator=generator)
        return same[chosen]


@functools.cache
def given_sums(tilt: float = 3.0) -> GivenSums:
    """The sums of `few_sums`."""
    return GivenSums((*range(100, 112), *range(494, 504), *range(984, 996)), tilt)
