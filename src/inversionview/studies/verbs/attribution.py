"""Direct logit attribution of what a query reads, and the choice of heads by what they add to the stream."""

from __future__ import annotations

import torch

from inversionview.causal.head_selection import HeadSelection, check_least, select_heads
from inversionview.causal.logit_attribution import LogitAttribution, logit_attribution
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import Positions, Tokens
from inversionview.studies.parts import Parts
from inversionview.studies.settings import HeadSettings
from inversionview.tasks.base import Task
from inversionview.tasks.facts.files import read_facts
from inversionview.tasks.facts.rows import make_rows
from inversionview.tasks.positions import check_role
from inversionview.tasks.vocabulary import Vocabulary


def attribute(parts: Parts, query: Query, *, final_norm: bool = True) -> LogitAttribution:
    """What the query's activation adds to the logits at its own position; see `Study.logit_attribution`."""
    query.needed_input("logit attribution")
    tokens = torch.tensor([query.tokens])
    return logit_attribution(parts.probed, tokens, query.site, query.position, final_norm=final_norm)


def choose_heads(probed: ProbedModel, task: Task, settings: HeadSettings) -> HeadSelection:
    """How often each head counts at a position of inputs; see `Study.head_selection`."""
    if settings.n < 1:
        raise UserError(f"n must be at least 1, such as 500, not {settings.n}")
    check_least(settings.least)
    inputs = _drawn(task, settings) if settings.texts is None else _facts(probed, settings)
    return select_heads(probed, *inputs, least=settings.least, upper=settings.layers == "upper")


def _facts(probed: ProbedModel, settings: HeadSettings) -> tuple[Tokens, Positions]:
    """All facts of a file or folder, and where the role is in each that has it."""
    at = settings.at
    rows = make_rows(Vocabulary.of(probed), read_facts(str(settings.texts)), length=None)[1]
    if at not in rows.places:
        raise UserError(f"facts have no position {at!r} to choose heads at; it is one of {', '.join(rows.places)}")
    there = rows.places[at] >= 0
    if not there.any():
        raise UserError(f"no fact of {settings.texts} has a position {at}, at which heads are chosen")
    return rows.tokens[there], rows.places[at][there]


def _drawn(task: Task, settings: HeadSettings) -> tuple[Tokens, Positions]:
    """Random training inputs that have the role, and where it is."""
    at, n, generator = settings.at, settings.n, torch.Generator().manual_seed(settings.seed)
    check_role(task, at)
    having: list[Tokens] = []
    while sum(map(len, having)) < n:
        drawn = task.sample(n, generator=generator, split="train")
        having.append(drawn[task.position_of(drawn, at) >= 0])
        if not len(having[-1]):
            raise UserError(f"inputs of {task.name} have no position {at}, at which heads are chosen: give --sites")
    tokens = torch.cat(having)[:n]
    return tokens, task.position_of(tokens, at)
