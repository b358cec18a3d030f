"""Where in a row of tokens its input begins and ends, and which positions of it can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float

from inversionview.errors import UserError
from inversionview.shapes import PositionMask, Positions, Tokens


def before_first(tokens: Tokens, token: int) -> PositionMask:
    """Positions [batch, pos] before the first `token` of their row that is not at 0 (all of them where it is absent).

    What is at 0 does not count: many tokenizers have one token for begin and end.
    """
    there = tokens == token
    there[:, 0] = False
    return there.cumsum(dim=1) == 0


def first_end(tokens: Tokens, end: int) -> Positions:
    """Position [batch] of the first end token after position 0, and 0 where there is none."""
    there = tokens == end
    there[:, 0] = False
    return there.long().argmax(dim=1)


def after_end(tokens: Tokens, end: int) -> PositionMask:
    """Positions [batch, pos] behind the first end token after position 0: padding, whatever stands there."""
    there = tokens == end
    there[:, 0] = False
    return there.cumsum(dim=1) - there.long() > 0


def between_begin_and_end(tokens: Tokens, end: int) -> PositionMask:
    """Positions strictly between the begin token at 0 and the first end token; needs no well-formed row."""
    inside = before_first(tokens, end)
    inside[:, 0] = False
    return inside


class _Readable(Protocol):
    def eligible(self, tokens: Tokens) -> PositionMask: ...


class _Named(_Readable, Protocol):
    @property
    def roles(self) -> tuple[str, ...]: ...
    def position_of(self, tokens: Tokens, role: str) -> Positions: ...


class _Padded(_Named, Protocol):
    @property
    def name(self) -> str: ...
    @property
    def max_length(self) -> int: ...
    @property
    def pad(self) -> int: ...


def check_role(task: _Padded, role: str) -> None:
    """Raise `UserError` for a role that no input has, before any is drawn."""
    task.position_of(torch.full((1, task.max_length), task.pad), role)
    if role.isdecimal() and int(role) >= task.max_length:  # where an index is a role
        raise UserError(
            f"position {role} is not in the inputs of {task.name}: their positions are 0 to {task.max_length - 1}"
        )


def eligible_role(task: _Named, tokens: Tokens, role: str) -> Positions:
    """Position of a role in each input, -1 where it lacks it or the position is not an eligible one."""
    positions = task.position_of(tokens, role)
    eligible = task.eligible(tokens).gather(1, positions.clamp_min(0)[:, None])[:, 0]
    return torch.where(eligible, positions, -1)


def every_role(task: _Named, tokens: Tokens) -> tuple[str, ...]:
    """The roles of these inputs, and indices where there is none, by which each eligible position of them is read."""
    left, roles = task.eligible(tokens).clone(), []
    left[:, 0] = False
    for role in task.roles:
        at = eligible_role(task, tokens, role)
        if bool((at >= 0).any()):
            roles.append(role)
            left[(at >= 0).nonzero()[:, 0], at[at >= 0]] = False
    return (*roles, *(str(index) for index in left.any(dim=0).nonzero()[:, 0].tolist()))


def role_positions(task: _Named, tokens: Tokens, roles: Sequence[str]) -> Positions:
    """The same with a role of its own for each input."""
    positions = torch.full((len(tokens),), -1)
    for role in dict.fromkeys(roles):
        rows = torch.tensor([i for i, other in enumerate(roles) if other == role])
        positions[rows] = eligible_role(task, tokens[rows], role)
    return positions


def last_eligible(task: _Readable, tokens: Tokens) -> Positions:
    """The last position of each input that may be read."""
    eligible = task.eligible(tokens)
    return (eligible * torch.arange(1, eligible.shape[1] + 1)).max(dim=1).values - 1


def draw_positions(
    task: _Readable, tokens: Tokens, generator: torch.Generator, weights: Float[torch.Tensor, " pos"] | None = None
) -> Positions:
    """One eligible position [batch] of each input: uniformly, or in proportion to `weights`."""
    allowed = task.eligible(tokens).float()
    if weights is not None:
        allowed = allowed * weights[: tokens.shape[1]]
    return torch.multinomial(allowed, 1, generator=generator)[:, 0]
