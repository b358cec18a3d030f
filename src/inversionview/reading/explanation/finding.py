"""From evidence to the rule that tells members from others, and what it holds for."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Int

from inversionview.expressions import Expression
from inversionview.reading.conditions import checked_condition, evaluated
from inversionview.reading.explanation.evidence import MEMBER, RANDOM, Evidence, share_of
from inversionview.reading.explanation.quantities import quantities
from inversionview.reading.explanation.rules import Rule, Table
from inversionview.reading.explanation.scores import error_of, signed_weights
from inversionview.reading.hypotheses import padded_row
from inversionview.results.preimage import Query
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Task

Drawn = tuple[Tokens, Positions]
"""Inputs, and a position of each."""
HARDLY = 0.02
"""What a longer rule has to be better by, of 1, at least."""
FEW_RANDOM, UNLABELLED, TIE = 500, 2000, 0.02
"""Where there are fewer random inputs for finding, so many from the prior, of which it is not known whether they are
members, count against what holds for them; by so much in all that they decide only between rules that are as good.
"""
_BLOCK = 65_536


def front_of(task: Task, evidence: Evidence, query: Query, drawn: Drawn | None = None) -> list[Rule]:
    """The best rules of each length on the side for finding, each better than the shorter ones.

    Each says for which of the inputs of that side it holds. `drawn`: inputs from the prior, which decide between rules
    that are as good.
    """
    rows = ~evidence.scored
    own = padded_row(task, query).numpy()[:, : evidence.tokens.shape[1]]
    tokens, positions = [evidence.tokens[rows], own], [evidence.positions[rows], [query.position]]
    weights = [signed_weights(evidence)[rows], [0.0]]
    if drawn is not None and evidence.rows(RANDOM, scored=False).sum() < FEW_RANDOM:
        more = [part[:UNLABELLED].numpy() for part in drawn]
        tokens.append(more[0][:, : evidence.tokens.shape[1]])
        positions.append(more[1])
        weights.append(np.full(len(more[0]), -TIE / max(1, len(more[0]))))
    every = torch.from_numpy(np.concatenate(tokens).astype(np.int64))
    there = quantities(task, every, torch.from_numpy(np.concatenate(positions).astype(np.int64)), query.role)
    if not there:
        return []
    n = int(rows.sum())
    found = Table(there, np.concatenate(weights), query=n).rules()
    return [dataclasses.replace(rule, holds=rule.holds[:n]) for rule in found]


def found_rule(task: Task, evidence: Evidence, query: Query, drawn: Drawn) -> Rule | None:
    """The shortest rule that is within an error of the best, or hardly worse; None where none is better than chance.

    The best tells members from others, and few but members fit it: `drawn` are random inputs that say how many do.
    """
    front = front_of(task, evidence, query, drawn)
    if not front:
        return None
    merits = [(rule.value + _generation(task, evidence, rule, drawn)) / 2 for rule in front]
    best = int(np.argmax(merits))
    error = error_of(evidence, evidence.spread(front[best].holds))
    return next(rule for rule, merit in zip(front, merits, strict=True) if merit >= merits[best] - max(error, HARDLY))


def _generation(task: Task, evidence: Evidence, rule: Rule, drawn: Drawn) -> float:
    """An estimate, on the side for finding, of how many of the inputs that fit a rule are members."""
    rows = evidence.rows(MEMBER, scored=False)
    of_members = share_of(evidence.spread(rule.holds)[rows], evidence.weights[rows]).share
    fits = holds_for(task, checked_condition(task, rule.text), *(part.numpy() for part in drawn))
    of_all = max(float(fits.mean()), 0.5 / len(fits))
    return min(1.0, of_members * evidence.base_rate.share / of_all)


def holds_for(
    task: Task, expression: Expression, tokens: Int[np.ndarray, "row pos"], positions: Int[np.ndarray, " row"]
) -> Bool[np.ndarray, " row"]:
    """For which inputs a condition holds, at a position of each."""
    holds = np.zeros(len(tokens), dtype=bool)
    for start in range(0, len(tokens), _BLOCK):
        rows = slice(start, start + _BLOCK)
        here = torch.from_numpy(tokens[rows]).long(), torch.from_numpy(positions[rows]).long()
        holds[rows] = evaluated(task, expression, *here).numpy()
    return holds
