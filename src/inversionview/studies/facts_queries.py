"""Which heads and positions are read in factual recall, as in the paper (InversionView, appendix on factual recall).

The heads are those that most often count at END, by `causal.head_selection`. Of a head's queries one half is at END,
the other where the head attends least to the begin token, and only where it attends to that less than 0.6: a head that
looks at the begin token does nothing there. This chooses queries of a study that is there; the training of a decoder
draws its positions as for every other task.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inversionview.causal.head_selection import HeadSelection, select_heads
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.shapes import PerPosition, PositionMask, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.facts import FactsTask

MOST_AT_BEGIN = 0.6
"""A head is not read where it attends to the begin token as much as this or more."""
HEADS = 25
_BLOCK, _ROUNDS = 64, 50


class Queries(NamedTuple):
    """Inputs [batch, pos], the position [batch] at which each is read, and how much the head looks at begin there."""

    tokens: Tokens
    positions: Positions
    to_begin: Float[Tensor, " batch"]


def heads_at_end(probed: ProbedModel, task: FactsTask, *, n: int = 500, heads: int = HEADS, seed: int = 0) -> list[str]:
    """The heads, `a0.1`, that count most often at END of `n` random inputs, most often first."""
    tokens = task.sample(n, generator=torch.Generator().manual_seed(seed))
    selection: HeadSelection = select_heads(probed, tokens, task.position_of(tokens, "END"))
    return [head.site for head in selection.heads[:heads]]


def attention_to_begin(probed: ProbedModel, tokens: Tokens, head: Site) -> PerPosition:
    """How much a head attends to the begin token from each position [batch, pos], between 0 and 1."""
    assert head.layer is not None
    found = [probed.attention(rows, head.layer)[:, head.head, :, 0] for rows in torch.split(tokens, _BLOCK)]
    return torch.cat(found).float().cpu()


def query_positions(
    to_begin: PerPosition, ends: Positions, eligible: PositionMask, at_end: Bool[Tensor, " batch"]
) -> Positions:
    """END where `at_end` says so, elsewhere the eligible position from which the head looks least at the begin token.

    Ties: the lowest index. -1 where the head looks at it by 0.6 or more even so.
    """
    least = to_begin.masked_fill(~eligible, torch.inf).argmin(dim=1)
    chosen = torch.where(at_end, ends, least)
    return torch.where(to_begin.gather(1, chosen[:, None])[:, 0] < MOST_AT_BEGIN, chosen, -1)


def choose_queries(probed: ProbedModel, task: FactsTask, head: str | Site, n: int, *, seed: int = 0) -> Queries:
    """`n` queries of a head: the first half at END, the rest where it looks least at the begin token.

    Raises `UserError` for what is no head, and a head that looks at the begin token nearly everywhere.
    """
    site = Site.parse(head)
    if site.kind != "head" or site not in probed.sites:
        raise UserError(f"{head} is no head of this model; heads are written as a0.0")
    generator = torch.Generator().manual_seed(seed)
    halves = [_half(probed, task, site, m, at_end, generator) for m, at_end in ((n - n // 2, True), (n // 2, False))]
    return Queries(*(torch.cat(parts) for parts in zip(*halves, strict=True)))


def _half(
    probed: ProbedModel, task: FactsTask, site: Site, n: int, at_end: bool, generator: torch.Generator
) -> Queries:
    kept: list[Queries] = []
    missing = n
    for _ in range(_ROUNDS):
        tokens = task.sample(max(n, _BLOCK), generator=generator)
        to_begin = attention_to_begin(probed, tokens, site)
        ends = task.position_of(tokens, "END")
        positions = query_positions(
            to_begin, ends, task.eligible(tokens), torch.full((len(tokens),), at_end, dtype=torch.bool)
        )
        rows = (positions >= 0).nonzero()[:, 0][:missing]
        at = positions[rows]
        kept.append(Queries(tokens[rows], at, to_begin[rows, at]))
        missing -= len(rows)
        if not missing:
            return Queries(*(torch.cat(parts) for parts in zip(*kept, strict=True)))
    where = "at END" if at_end else "anywhere"
    raise UserError(f"head {site} looks at the begin token by {MOST_AT_BEGIN} or more {where} in nearly all inputs")
