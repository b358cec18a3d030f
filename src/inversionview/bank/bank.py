"""The bank: the activations of a sample of the domain at many sites and roles, from one pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.bank.plan import BankPlan
from inversionview.errors import UserError
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site


class Store(Protocol):
    """Where what was read lies."""

    def values(self, source: Site, role: str) -> Float[Tensor, "run width"]:
        """What was captured of every run, on the CPU."""
        ...


class MemoryStore:
    """In memory, by site and role."""

    def __init__(self, values: Mapping[tuple[Site, str], Tensor]) -> None:
        self._values = values

    def values(self, source: Site, role: str) -> Float[Tensor, "run width"]:
        """What was captured of every run."""
        return self._values[source, role]


class Bank:
    """Activations of the inputs `tokens`, a sample of the task's prior, at some sites and roles.

    Vectors are coordinates in which all distances are exact, of a head `d_head` numbers; activations are those that
    `ProbedModel.capture` gives.
    """

    def __init__(self, probed: ProbedModel, plan: BankPlan, store: Store) -> None:
        self._probed, self._plan, self._store = probed, plan, store
        self._coordinates = Coordinates(probed)

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"<Bank of {self._plan.words}>"

    @property
    def tokens(self) -> Tokens:
        """The inputs as they were drawn, repeats too."""
        return self._plan.tokens

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites that it holds."""
        return self._plan.sites

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that it holds."""
        return self._plan.roles

    @property
    def seed(self) -> int:
        """With which the inputs were drawn."""
        return self._plan.seed

    @property
    def split(self) -> str:
        """Of which side of the task's split they are."""
        return self._plan.split

    @cached_property
    def distinct(self) -> Positions:
        """Which of the distinct inputs each input `[input]` is."""
        which: Tensor = torch.unique(self.tokens, dim=0, return_inverse=True)[1]
        return which

    def width(self, site: Site) -> int:
        """How many numbers an activation at a site has."""
        return self._probed.width(site)

    def holds(self, site: Site, role: str) -> bool:
        """Whether it has this site at this role."""
        return site in self.sites and role in self.roles

    def positions(self, role: str) -> Positions:
        """Position of a role in each input, -1 where it lacks it. Raises `UserError` for one that is not held."""
        begun, index = self._plan.begun, self._role(role)
        return torch.where(begun.run < 0, -1, begun.places[:, index][begun.run])

    @property
    def run(self) -> Positions:
        """Which of the runs, which are distinct, each input `[input]` has; -1 where it lacks all roles."""
        return self._plan.begun.run

    def run_vectors(self, site: Site, role: str) -> Float[Tensor, "run coord"]:
        """Coordinates in fp32 of each run, which mean nothing where it lacks the role; raises as `vectors` does."""
        return self._coordinates.of_source(site, self._values(site, role))

    def vectors(self, site: Site, role: str) -> Float[Tensor, "input coord"]:
        """Coordinates in fp32, NaN where an input lacks the role. Raises `UserError` for what is not held."""
        vectors = self.run_vectors(site, role)[self.run]
        return vectors.masked_fill_((self.positions(role) < 0)[:, None], torch.nan)

    def coordinates(self, site: Site, activations: Float[Tensor, "*any width"]) -> Float[Tensor, "*any coord"]:
        """Activations at a site in the same coordinates."""
        return self._coordinates.of(site, activations)

    def activations(self, site: Site, role: str, rows: Int[Tensor, " row"]) -> Float[Tensor, "row width"]:
        """The activations themselves of some inputs; NaN where one lacks the role. Raises as `vectors` does."""
        values = self._values(site, role)[self._plan.begun.run[rows]]
        lacking = self.positions(role)[rows] < 0
        return self._coordinates.activations(site, values).masked_fill(lacking[:, None], torch.nan)

    def _values(self, site: Site, role: str) -> Float[Tensor, "run width"]:
        if site not in self.sites:
            raise UserError(f"the bank does not hold {site}: it holds {_some(self.sites)}; make one that does")
        self._role(role)
        return self._store.values(self._coordinates.source(site), role)

    def _role(self, role: str) -> int:
        if role not in self.roles:
            raise UserError(f"the bank was not made at {role!r}: it holds {' '.join(self.roles)}; make one that does")
        return self.roles.index(role)


def _some(sites: tuple[Site, ...]) -> str:
    names = [str(site) for site in sites]
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
