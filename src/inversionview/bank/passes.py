"""One pass over inputs: each beginning once, without padding, as deep as the deepest site, and never to the logits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.probed.batches import run_by_length, tokens_at_once
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role

_VALUES_AT_ONCE = 2**25
"""Activation values that are read of one forward at most: 128 MiB in fp32."""
_ROWS_AT_ONCE = 4096

Places = Int[Tensor, "batch place"]
"""Positions that are read of each input, -1 where it lacks one."""


class Beginnings(NamedTuple):
    """The distinct inputs among some, each up to the last position that is read of it; the longest first."""

    tokens: Int[Tensor, "run pos"]
    places: Int[Tensor, "run place"]
    run: Int[Tensor, " batch"]
    """Which of them each input begins with, -1 where nothing is read of it."""

    @property
    def lengths(self) -> Int[Tensor, " run"]:
        """How many tokens of each are run."""
        return self.places.amax(dim=1) + 1


def distinct_beginnings(tokens: Tokens, places: Places) -> Beginnings:
    """Find them. Inputs that differ only after what is read share an activation."""
    if not places.shape[1]:
        places = places.new_full((len(tokens), 1), -1)
    length = places.amax(dim=1) + 1
    width = max(1, int(length.max())) if len(length) else 1
    cut = tokens[:, :width].masked_fill(torch.arange(width) >= length[:, None], 0)
    distinct, run = torch.unique(torch.cat([-length[:, None], places, cut], dim=1), dim=0, return_inverse=True)
    n = int((distinct[:, 0] < 0).sum())  # those of which nothing is read come last
    start = 1 + places.shape[1]
    return Beginnings(distinct[:n, start:], distinct[:n, 1:start], torch.where(run < n, run, -1))


class Read(NamedTuple):
    """What one forward gave."""

    rows: Int[Tensor, " row"]
    values: dict[Site, Float[Tensor, "row place width"]]
    """On the CPU, in the model's type; means nothing where an input lacks the place."""


@torch.no_grad()
def read_places(probed: ProbedModel, tokens: Tokens, places: Places, sites: Sequence[Site]) -> Iterator[Read]:
    """Capture `sites` at some positions of each input, in blocks that hold few values at once; all rows once."""
    each = max(1, places.shape[1] * sum(map(probed.width, sites)))
    most_rows = max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // each))
    at_once = tokens_at_once(probed.d_model, probed.device)
    for rows, length in run_by_length(places.amax(dim=1) + 1, at_once, most_rows):
        captured = probed.capture(tokens[rows, :length], sites, places[rows].clamp_min(0))
        yield Read(rows, {site: values.cpu() for site, values in captured.items()})


def read_all(
    probed: ProbedModel, tokens: Tokens, places: Places, sites: Sequence[Site], roles: Sequence[str]
) -> dict[tuple[Site, str], Float[Tensor, "run width"]]:
    """What is captured for these sites, whose roles are at `places`, by its own site and role; all of it at once."""
    sources = tuple(dict.fromkeys(map(Coordinates(probed).source, sites)))
    kept = {
        (source, role): torch.empty(len(tokens), probed.width(source), dtype=probed.model.dtype)
        for source in sources
        for role in roles
    }
    for read in read_places(probed, tokens, places, sources):
        for source, values in read.values.items():
            for place, role in enumerate(roles):
                kept[source, role][read.rows] = values[:, place]
        advance(len(read.rows))
    return kept


@dataclass(frozen=True, eq=False)
class Part:
    """Some inputs of a pass, and what was read of them at each place."""

    rows: Int[Tensor, " row"]
    """Which of the inputs they are."""
    places: Int[Tensor, "row place"]
    _coordinates: Coordinates
    _values: Mapping[Site, Float[Tensor, "run place width"]]
    _run: Positions
    """Which of the values each row has."""

    def vectors(self, site: Site) -> Float[Tensor, "row place coord"]:
        """Coordinates in fp32, in which distances are exact; NaN where a row lacks the place."""
        return self._made(site, slice(None))

    def vectors_at(self, site: Site, place: int) -> Float[Tensor, "row coord"]:
        """Those of one place."""
        return self._made(site, place)

    def _made(self, site: Site, place: slice | int) -> Tensor:
        values = self._values[self._coordinates.source(site)][:, place]
        vectors = self._coordinates.of_source(site, values)[self._run]
        return vectors.masked_fill((self.places[:, place] < 0)[..., None], torch.nan)


def read_parts(probed: ProbedModel, tokens: Tokens, places: Places, sites: Iterable[Site | str]) -> Iterator[Part]:
    """Read `sites` at some positions of each input, part by part, in an order of their own.

    Inputs of which nothing is read are left out. Raises `UserError` for a site that the model has not.
    """
    begun, coordinates = distinct_beginnings(tokens, places), Coordinates(probed)
    order = begun.run.argsort(stable=True)
    counts = torch.bincount(begun.run + 1, minlength=len(begun.tokens) + 1)
    ends = counts.cumsum(0)
    sources = tuple(dict.fromkeys(coordinates.source(probed.site(site)) for site in sites))
    for read in read_places(probed, begun.tokens, begun.places, sources):
        rows = torch.cat([order[ends[run] : ends[run + 1]] for run in read.rows.tolist()])
        run = torch.arange(len(read.rows)).repeat_interleave(counts[1 + read.rows])
        yield Part(rows, places[rows], coordinates, read.values, run)
        advance(len(rows))


def read_vectors(
    probed: ProbedModel, tokens: Tokens, places: Places, sites: Sequence[Site]
) -> dict[Site, Float[Tensor, "batch place coord"]]:
    """All that `read_parts` gives, in the order of the inputs."""
    whole: dict[Site, Tensor] = {}
    for part in read_parts(probed, tokens, places, sites):
        for site in sites:
            vectors = part.vectors(site)
            if site not in whole:
                whole[site] = vectors.new_full((len(tokens), *vectors.shape[1:]), torch.nan)
            whole[site][part.rows] = vectors
    return whole


@dataclass(frozen=True, eq=False)
class Vectors(Mapping[tuple[Site, str], Tensor]):
    """By site and role `[row, coord]`, made when asked for."""

    part: Part
    sites: tuple[Site, ...]
    roles: tuple[str, ...]

    def __getitem__(self, key: tuple[Site, str]) -> Tensor:
        return self.part.vectors_at(key[0], self.roles.index(key[1]))

    def __iter__(self) -> Iterator[tuple[Site, str]]:
        return product(self.sites, self.roles)

    def __len__(self) -> int:
        return len(self.sites) * len(self.roles)


@dataclass(frozen=True, eq=False)
class Block:
    """Some inputs of a pass, and what was read of them at each role."""

    rows: Int[Tensor, " row"]
    """Which of the inputs they are."""
    positions: Mapping[str, Positions]
    """Of every role in them, -1 where they lack it."""
    vectors: Mapping[tuple[Site, str], Float[Tensor, "row coord"]]
    """Coordinates in which distances are exact, in fp32; NaN in rows that lack the role."""


def pass_over(
    probed: ProbedModel, task: Task, tokens: Tokens, sites: Iterable[Site | str], roles: Iterable[str]
) -> Iterator[Block]:
    """Read `sites` at `roles` of each input, block by block in an order of its own; inputs that lack all are left out.

    Nothing is kept. Raises `UserError` for a site that the model has not, or a role that the task has not.
    """
    chosen, named = tuple(dict.fromkeys(map(probed.site, sites))), tuple(dict.fromkeys(roles))
    for part in read_parts(probed, tokens, role_places(task, tokens, named), chosen):
        positions = dict(zip(named, part.places.unbind(1), strict=True))
        yield Block(part.rows, positions, Vectors(part, chosen, named))


def eligible_places(task: Task, tokens: Tokens) -> Places:
    """Every position of each input that may be read, in its own column."""
    return torch.where(task.eligible(tokens), torch.arange(tokens.shape[1]), -1)


def role_places(task: Task, tokens: Tokens, roles: Sequence[str]) -> Places:
    """Position of each role in each input, -1 where it lacks it. Raises `UserError` for a role that no input has."""
    if not roles:
        raise UserError("give at least one position to read, such as " + " ".join(task.roles[:3]))
    return torch.stack([eligible_role(task, tokens, role) for role in roles], dim=1)
