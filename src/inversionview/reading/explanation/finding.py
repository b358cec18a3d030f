"""From evidence to the rule that tells members from others, and what it holds for."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int

from inversionview.expressions import Expression
from inversionview.reading.conditions import checked_condition, evaluated
from inversionview.reading.explanation.evidence import MEMBER, Evidence, share_of
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
_BLOCK = 65_536


def front_of(task: Task, evidence: Evidence, query: Query) -> list[Rule]:
    """The best rules of each length on the side for finding, each better than the shorter ones."""
    rows = ~evidence.scored
    own = padded_row(task, query).numpy()[:, : evidence.tokens.shape[1]]
    tokens = torch.from_numpy(np.concatenate([evidence.tokens[rows], own]).astype(np.int64))
    positions = torch.from_numpy(np.append(evidence.positions[rows], query.position).astype(np.int64))
    there = quantities(task, tokens, positions, query.role)
    if not there:
        return []
    weights = np.append(signed_weights(evidence)[rows], 0.0)
    return Table(there, weights, query=len(weights) - 1).rules()


def found_rule(task: Task, evidence: Evidence, query: Query, drawn: Drawn) -> Rule | None:
    """The shortest rule that is within an error of the best, or hardly worse; None where none is better than chance.

    The best tells members from others, and few but members fit it: `drawn` are random inputs that say how many do.
    """
    front = front_of(task, evidence, query)
    if not front:
        return None
    merits = [(rule.value + _generation(task, evidence, rule, drawn)) / 2 for rule in front]
    best = int(np.argmax(merits))
    error = error_of(evidence, evidence.spread(front[best].holds[:-1]))
    return next(rule for rule, merit in zip(front, merits, strict=True) if merit >= merits[best] - max(error, HARDLY))


def _generation(task: Task, evidence: Evidence, rule: Rule, drawn: Drawn) -> float:
    """An estimate, on the side for finding, of how many of the inputs that fit a rule are members."""
    rows = evidence.rows(MEMBER, scored=False)
    of_members = share_of(evidence.spread(rule.holds[:-1])[rows], evidence.weights[rows]).share
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
