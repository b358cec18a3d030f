"""ε by causal tolerance: so narrow that a member's activation in place of the query's leaves the output as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.criterion import DEFAULT, Criterion
from inversionview.errors import UserError
from inversionview.preimage.epsilon.curve import Calibrated
from inversionview.preimage.rounding import Beginnings, same_activation
from inversionview.preimage.verification import at_role, best, eligible_distances
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import InputMask, PerInput, Positions, Tokens
from inversionview.tasks.base import Task
from inversionview.tasks.outputs import PatchedRun, predicting
from inversionview.tasks.positions import eligible_role

_BLOCK_INPUTS = 256
"""Candidates that are tried before it is known whether the next ones are needed."""


class _Ranked(NamedTuple):
    """Inputs of the domain that have a position by the rule, nearest first."""

    tokens: Tokens
    positions: Positions
    distances: Float[Tensor, " batch"]
    """In fp64."""


@torch.no_grad()
def causal_epsilon(
    probed: ProbedModel,
    task: Task,
    query: Query,
    tolerance: float,
    candidates: Tokens,
    *,
    criterion: Criterion = DEFAULT,
) -> Calibrated:
    """The largest ε at which a member's activation in place of the query's moves the output by less than `tolerance`.

    Each candidate of the domain but the query's own input is tried: its activation, where the rule finds it nearest,
    is patched into the query's run at the query's position. What it moves is the largest KL(clean ‖ patched), in nats,
    of the next token over the positions from the query's on that predict the task's answer; where none does, at the
    last position before the end. In order of distance, ε is the last distance below that of the first candidate that
    moves the output by `tolerance` or more; where none does, the largest distance tried, which is a lower bound. The
    criterion's own ε does not matter.
    Raises `UserError` for a tolerance that is not a finite number above 0, candidates of which none can be tried, and
    where no candidate with another activation than the query's comes before the first that moves the output.
    """
    if not 0 < tolerance < math.inf:
        raise UserError(f"the causal tolerance must be a number of nats above 0, such as 0.05, not {tolerance}")
    rounding = same_activation(probed, task, [query.site], metric=criterion.metric, role=query.role or None)
    ranked = _ranked(probed, task, query, candidates, criterion)
    moves = _moves(probed, task, query, ranked, tolerance)
    return _calibrated(ranked, moves, tolerance, rounding[query.site])


def _ranked(probed: ProbedModel, task: Task, query: Query, candidates: Tokens, criterion: Criterion) -> _Ranked:
    """Distinct candidates that may be members, nearest first, ties by token ids, without the query's own input."""
    tokens = torch.unique(candidates[task.contains(candidates)].cpu(), dim=0)
    tokens = tokens[~_are(tokens, query.tokens, task.pad)]
    (z_q,) = probed.capture(torch.tensor([query.tokens]), [query.site], query.position).values()
    z, of = z_q.expand(len(tokens), -1), Beginnings.of([query])
    everywhere = eligible_distances(probed, task, tokens, query.site, z, metric=criterion.metric, of=of)
    if criterion.position_rule == "same":
        nearest = at_role(everywhere, eligible_role(task, tokens, query.role))
    else:
        nearest = best(everywhere)
    order = nearest.distances.argsort(stable=True)
    order = order[nearest.distances[order].isfinite()]
    if not len(order):
        raise UserError(
            f"a causal epsilon needs inputs to try: none of the {len(candidates)} given is another input of "
            f"{task.name} that can be compared at {query.role}"
        )
    return _Ranked(tokens[order], nearest.positions[order], nearest.distances[order].double())


def _are(tokens: Tokens, own: Sequence[int], pad: int) -> InputMask:
    """Which rows are this input, however either is padded."""
    width = max(tokens.shape[1], len(own))
    rows = F.pad(tokens, (0, width - tokens.shape[1]), value=pad)
    return (rows == torch.tensor([*own, *[pad] * (width - len(own))])).all(dim=1)


def _moves(
    probed: ProbedModel, task: Task, query: Query, ranked: _Ranked, tolerance: float
) -> Float[Tensor, " candidate"]:
    """What each candidate moves the output by, in nats, up to the block with the first that is not within tolerance."""
    tokens = torch.tensor(query.tokens)
    run = PatchedRun(probed, tokens, query.site, query.position, predicting(task, tokens[None], query.position))
    moves: list[PerInput] = []
    for rows, positions in zip(*(torch.split(part, _BLOCK_INPUTS) for part in ranked[:2]), strict=True):
        (values,) = probed.capture(rows, [query.site], positions).values()
        moves.append(run.effects(values).kl.amax(dim=1))
        if not (moves[-1] < tolerance).all():
            break
    return torch.cat(moves)


def _calibrated(ranked: _Ranked, moves: Float[Tensor, " tried"], tolerance: float, rounding: float) -> Calibrated:
    """What the moves of the nearest candidates say; below `rounding` two activations are the same."""
    beyond = (~(moves < tolerance)).nonzero()[:, 0]  # a move that is not a number is not within tolerance
    outside = float(ranked.distances[beyond[0]]) if len(beyond) else math.inf
    # Strictly nearer: at one distance there may be inputs on both sides of the tolerance.
    n, inside = len(ranked.tokens), int((ranked.distances < outside).sum())
    epsilon = float(ranked.distances[inside - 1]) if inside else 0.0
    if epsilon < rounding:
        raise _no_epsilon(ranked, moves, tolerance, rounding, beyond)
    which = (
        f"{inside} of {n} inputs tried are within {epsilon:.4g}, and move the output by less than {tolerance:g} nats"
    )
    after = (
        f"the next, {outside:.4g} away, moves it by {float(moves[beyond[0]]):.4g}"
        if len(beyond)
        else "none moves it further, so this is a lower bound"
    )
    return Calibrated(epsilon, (epsilon, outside), f"{which}; {after}", n)


def _no_epsilon(
    ranked: _Ranked, moves: Float[Tensor, " tried"], tolerance: float, rounding: float, beyond: Int[Tensor, " beyond"]
) -> UserError:
    if not len(beyond):
        return UserError(
            f"all {len(ranked.tokens)} inputs tried have the query's own activation, and tell nothing of causal:"
            f"{tolerance:g}: try some that differ up to the query's position"
        )
    different = moves[ranked.distances[: len(moves)] >= rounding]
    least = float((different if len(different) else moves).min())
    return UserError(
        f"causal:{tolerance:g} leaves no epsilon: an input {float(ranked.distances[beyond[0]]):.4g} away already moves "
        f"the output by {float(moves[beyond[0]]):.4g} nats; the smallest move found is {least:.4g} nats, "
        "so try more inputs, or a larger tolerance"
    )
