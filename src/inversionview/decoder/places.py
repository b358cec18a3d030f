"""Which activations are read, in training and in measurements of it: of which inputs, and where in each.

By default, any eligible position of any input. For factual recall, as in the paper (InversionView, arXiv 2405.17653,
appendix on factual recall), where the heads attend: an input is read at a head only where that attends to the begin
token by less than 0.6, for a head that looks there does nothing; half of the times at END, the last position before the
object, and half where the head looks at the begin token least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Split, Task
from inversionview.tasks.positions import draw_positions

MOST_AT_BEGIN = 0.6
"""A head is not read where it attends to the begin token by this or more; the paper's."""
ROLE = "END"
_BLOCK = 64

Weights = Float[Tensor, "site pos"]
Table = Int[Tensor, "input half site"]
"""Where an input is read at a site: at END, or where its head looks at the begin token least; -1 where it is not."""


class Reads(NamedTuple):
    """Inputs [batch, pos], the position [batch] at which each is read, and the index [batch] of its site."""

    tokens: Tokens
    positions: Positions
    site_index: Positions


class Chosen(NamedTuple):
    """Instances of some inputs: which input [batch], at which position and site each is read."""

    rows: Positions
    positions: Positions
    site_index: Positions


class Places(Protocol):
    """Chooses inputs, positions and sites together."""

    def table(self, tokens: Tokens, generator: Generator) -> Tensor:
        """What `draw` has to know of inputs beside their tokens: found once, since it may take a forward."""
        ...

    def draw(self, tokens: Tokens, table: Tensor, n: int, weights: Weights, generator: Generator) -> Chosen:
        """`n` training instances of these inputs, cells being drawn in proportion to `weights`."""
        ...

    def at(self, sites: Sequence[Site], n: int, generator: Generator, split: Split) -> Reads:
        """`n` instances of the first site, then `n` of the next, and so on."""
        ...


@dataclass(frozen=True)
class Anywhere:
    """Every eligible position of every input."""

    task: Task
    begin_share: float = 0.0
    """Share of instances taken at the begin token, in training."""

    def table(self, tokens: Tokens, generator: Generator) -> Int[Tensor, "input none"]:
        """As `Places.table`: nothing."""
        return torch.zeros(len(tokens), 0, dtype=torch.long)

    def draw(self, tokens: Tokens, table: Tensor, n: int, weights: Weights, generator: Generator) -> Chosen:
        """As `Places.draw`: an input, a position, then a site."""
        rows = torch.randint(len(tokens), (n,), generator=generator)
        positions = draw_positions(self.task, tokens[rows], generator, weights.sum(dim=0))
        positions[torch.rand(n, generator=generator) < self.begin_share] = 0
        return Chosen(rows, positions, torch.multinomial(weights.T[positions], 1, generator=generator)[:, 0])

    def at(self, sites: Sequence[Site], n: int, generator: Generator, split: Split) -> Reads:
        """As `Places.at`."""
        tokens = self.task.sample(n * len(sites), generator=generator, split=split)
        positions = draw_positions(self.task, tokens, generator)
        return Reads(tokens, positions, torch.arange(len(sites)).repeat_interleave(n))


@dataclass(frozen=True)
class Attended:
    """Where the head of a site attends, as the module says.

    A site that is no head has no such place: it is read half at END and half at any eligible position. Where one half
    has no input, as END has none in a batch of free texts, the other half takes its share.
    Raises `UserError` for a task without END.
    """

    probed: ProbedModel
    task: Task
    sites: tuple[Site, ...]
    """Those that `draw` draws from."""
    begin_share: float = 0.0

    def __post_init__(self) -> None:
        if ROLE not in self.task.roles:
            raise UserError(f"inputs of {self.task.name} have no position {ROLE}, where a half of them is to be read")

    def table(self, tokens: Tokens, generator: Generator) -> Table:
        """Where these inputs are read at the sites."""
        return self.where(tokens, self.sites, generator)

    def draw(self, tokens: Tokens, table: Table, n: int, weights: Weights, generator: Generator) -> Chosen:
        """As `Places.draw`: a site, then one of the inputs that can be read there.

        Raises `UserError` where all heads look at the begin token in all of these inputs.
        """
        there_is = (table >= 0).any(dim=0)
        if not there_is.any():
            raise UserError(_nowhere("any of these heads"))
        weight = weights.sum(dim=1) * there_is.any(dim=0)
        site_index = torch.multinomial(weight, n, replacement=True, generator=generator)
        half = (torch.rand(n, generator=generator) < 0.5).long()
        half = torch.where(there_is[half, site_index], half, 1 - half)
        order = torch.rand(n, generator=generator)
        rows = torch.empty(n, dtype=torch.long)
        for which, site in torch.unique(torch.stack([half, site_index], dim=1), dim=0).tolist():
            mine = (half == which) & (site_index == site)
            readable = (table[:, which, site] >= 0).nonzero()[:, 0]
            rows[mine] = readable[(order[mine] * len(readable)).long()]
        positions = table[rows, half, site_index]
        positions[torch.rand(n, generator=generator) < self.begin_share] = 0
        return Chosen(rows, positions, site_index)

    def at(self, sites: Sequence[Site], n: int, generator: Generator, split: Split) -> Reads:
        """As `Places.at`; of each site the first half at END.

        Raises `UserError` for a head that looks at the begin token nearly always.
        """
        kept: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in sites]
        wanted = (n - n // 2, n // 2)
        blocks: list[Tokens] = []
        for block in range(20 + 4 * n // _BLOCK):
            tokens = self.task.sample(_BLOCK, generator=generator, split=split)
            table = self.where(tokens, sites, generator)
            blocks.append(
                torch.nn.functional.pad(tokens, (0, self.task.max_length - tokens.shape[1]), value=self.task.pad)
            )
            for i, halves in enumerate(kept):
                for half, places in zip(table[:, :, i].T, halves, strict=True):
                    rows = (half >= 0).nonzero()[:, 0]
                    places.append(torch.stack([block * _BLOCK + rows, half[rows]]))
            if all(sum(f.shape[1] for f in h) >= want for hs in kept for h, want in zip(hs, wanted, strict=True)):
                break
        chosen = [
            _filled(torch.cat(ends, dim=1), torch.cat(least, dim=1), wanted, str(site))
            for site, (ends, least) in zip(sites, kept, strict=True)
        ]
        rows, positions = torch.cat(chosen, dim=1)
        return Reads(torch.cat(blocks)[rows], positions, torch.arange(len(sites)).repeat_interleave(n))

    def where(self, tokens: Tokens, sites: Sequence[Site], generator: Generator) -> Table:
        """Where these inputs are read at these sites, for each half; -1 where they are not."""
        eligible, ends = self.task.eligible(tokens).cpu(), self.task.position_of(tokens, ROLE).cpu()
        heads = [site for site in sites if site.kind == "head"]
        looks = self.probed.attention_to(tokens, heads)
        anywhere = draw_positions(self.task, tokens, generator)
        halves = [
            _halves(looks[site].float().cpu(), eligible, ends) if site.kind == "head" else torch.stack([ends, anywhere])
            for site in sites
        ]
        return torch.stack(halves, dim=2).transpose(0, 1)


ANYWHERE, ATTENDED = "anywhere", "attended"


def make_places(
    name: str, probed: ProbedModel, task: Task, sites: Sequence[Site], *, begin_share: float = 0.0
) -> Places:
    """What `anywhere` and `attended` stand for. Raises `UserError` for another name, or a task without END."""
    if name == ATTENDED:
        return Attended(probed, task, tuple(sites), begin_share)
    if name != ANYWHERE:
        raise UserError(f"there is no way {name!r} to choose what is read: there are {ANYWHERE} and {ATTENDED}")
    return Anywhere(task, begin_share)


def _halves(
    to_begin: Float[Tensor, "input pos"], eligible: Bool[Tensor, "input pos"], ends: Int[Tensor, " input"]
) -> Int[Tensor, "half input"]:
    """END, and the eligible position from which a head looks least at begin (ties: the lowest); -1 where it does."""
    least = to_begin.masked_fill(~eligible, torch.inf).argmin(dim=1)
    both = torch.stack([ends, least])
    looks = to_begin.T.gather(0, both.clamp_min(0))
    return torch.where((both >= 0) & (looks < MOST_AT_BEGIN), both, -1)


def _filled(
    ends: Int[Tensor, "two ends"], least: Int[Tensor, "two least"], wanted: tuple[int, int], site: str
) -> Int[Tensor, "two n"]:
    """As many of each half as are wanted; where one half has too few, more of the other."""
    n = sum(wanted)
    at_end = min(ends.shape[1], max(wanted[0], n - least.shape[1]))
    both = torch.cat([ends[:, :at_end], least[:, : n - at_end]], dim=1)
    if both.shape[1] < n:
        raise UserError(_nowhere(f"head {site}"))
    return both


def _nowhere(who: str) -> str:
    return f"{who} looks at the begin token by {MOST_AT_BEGIN} or more in nearly all inputs: leave it out of the sites"
