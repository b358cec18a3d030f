"""From what a person types to a query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inversionview.errors import UserError
from inversionview.results.preimage import Query
from inversionview.shapes import OneInput
from inversionview.sites import Site
from inversionview.studies.parts import Parts, checked_site
from inversionview.tasks import Task
from inversionview.tasks.base import Findable


def make_query(parts: Parts, text: str, at: str | int | None, site: str | Site | None) -> Query:
    """The query at a role or index `at` (None: the last eligible position) and a site of the study.

    Raises `UserError` for a site that the study has not, an input that is not in the task's domain, and a position that
    it does not have or that is never read.
    """
    name, task = checked_site(parts, site), parts.task
    tokens = task.encode(text)
    position = find_position(task, tokens, at)
    strings = tuple(task.token_strings(tokens))
    role = task.role(tokens, position)
    ids, note = tuple(tokens.tolist()), parts.probed.note(name)
    return Query(parts.name, task.decode(tokens), ids, strings, position, role, name, site_note=note)


def vector_query(
    parts: Parts, vector: Tensor | Sequence[float], role: str | int | None, site: str | Site | None
) -> Query:
    """The query of a vector of the user's own at a site, which plays a role or (None) none.

    Raises `UserError` for a site that the study has not, and a vector of another width or of no length.
    """
    name = checked_site(parts, site)
    numbers, width = torch.as_tensor(vector, dtype=torch.float32).detach().cpu(), parts.probed.width(name)
    if numbers.shape != (width,):
        raise UserError(f"the vector has shape {tuple(numbers.shape)}: activations at {name} have ({width},)")
    if not (numbers.isfinite().all() and numbers.any()):
        raise UserError("the vector must be finite and not all 0, for distances are told relative to its length")
    at = "" if role is None else str(role)
    return Query(parts.name, None, (), (), -1, at, name, tuple(numbers.tolist()), parts.probed.note(name))


def find_position(task: Task, tokens: OneInput, at: str | int | None) -> int:
    """Index of an eligible position by its role or index. Raises `UserError` that names the positions there are."""
    eligible: list[int] = task.eligible(tokens[None])[0].nonzero()[:, 0].tolist()
    if at is None:
        return eligible[-1]
    roles = {task.role(tokens, position): position for position in reversed(eligible)}
    if str(at) in roles:
        return roles[str(at)]
    index = _index(at)
    if index is not None and index in eligible:
        return index
    if isinstance(task, Findable):
        position = task.find(tokens, str(at))
        if position in eligible:
            return position
    text = task.decode(tokens)
    there_are = f"its positions are {' '.join(reversed(roles))}, or {eligible[0]} to {eligible[-1]}"
    if isinstance(task, Findable):
        there_are += ", or a whole word of it (its second occurrence: WORD#2)"
    if index is not None and 0 <= index < len(task.token_strings(tokens)):
        which = "begin" if index < eligible[0] else "end"
        raise UserError(f"position {index} of {text} is its {which} token, which is never read; {there_are}")
    raise UserError(f"{text} has no position {str(at)!r}; {there_are}")


def _index(at: str | int) -> int | None:
    try:
        return int(at)
    except ValueError:
        return None
