"""Pairs of a clean and a contrast input, which differ in the token that the model is to predict at a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.progress import advance, stage
from inversionview.reading.conditions import checked_condition, holds
from inversionview.seeds import seeded
from inversionview.shapes import InputMask, Positions, Tokens
from inversionview.tasks.base import Contrastable, Flippable, Split, Task
from inversionview.tasks.positions import after_end, check_role, first_end, last_eligible

TRIES = 100
"""Contrast inputs that are drawn for each clean one before it is left out."""
KINDS = "change:F1,S1 (positions to draw anew), random (another input) or flip (the task's least change)"


class Places(NamedTuple):
    """One position of each pair, which may lie elsewhere in the other run; -1 where an input lacks it."""

    clean: Positions
    contrast: Positions


@dataclass(frozen=True, eq=False)
class Pairs:
    """Clean and contrast inputs `[batch, pos]`, and the position `[batch]` of the target token in each.

    The target is predicted from the position before it. Raises `UserError` unless all of this fits together, and the
    target tokens of every pair differ.
    """

    task: Task
    clean: Tensor
    contrast: Tensor
    clean_target: Tensor
    contrast_target: Tensor
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many clean inputs were drawn and not kept: by `where`, by `contrast`, or for lack of a `position`."""

    def __post_init__(self) -> None:
        if self.clean.dim() != 2 or self.clean.shape != self.contrast.shape:
            raise UserError(
                f"clean and contrast inputs must be [batch, pos] of one shape, padded to the same length, not "
                f"{tuple(self.clean.shape)} and {tuple(self.contrast.shape)}"
            )
        for name, tokens, target in self._runs():
            _checked_target(self.task, name, tokens, target)
        same = self.answer == self.contrast_answer
        if same.any():
            pair = int(same.nonzero()[0, 0])
            raise UserError(
                f"the target token is the same in the clean and the contrast input of {int(same.sum())} of {len(self)} "
                f"pairs, such as {self.task.decode(self.clean[pair])} and {self.task.decode(self.contrast[pair])}: "
                "its logit difference is 0 whatever is patched"
            )

    def _runs(self) -> tuple[tuple[str, Tensor, Tensor], tuple[str, Tensor, Tensor]]:
        return ("clean", self.clean, self.clean_target), ("contrast", self.contrast, self.contrast_target)

    def __len__(self) -> int:
        return len(self.clean)

    @property
    def answer(self) -> Int[Tensor, " batch"]:
        """The clean inputs' tokens at the target."""
        return self.clean.gather(1, self.clean_target[:, None])[:, 0]

    @property
    def contrast_answer(self) -> Int[Tensor, " batch"]:
        """The contrast inputs' tokens at the target."""
        return self.contrast.gather(1, self.contrast_target[:, None])[:, 0]

    def places(self, at: str | int) -> Places:
        """Where a role, or an index counted with the begin token as 0, lies in each run; -1 where an input lacks it.

        Raises `UserError` for a role that the task does not have, and an index out of range or on padding.
        """
        return Places(*(positions_at(self.task, tokens, at, name) for name, tokens, _ in self._runs()))

    def where(self, mask: InputMask, left_out: str = "") -> Pairs:
        """The pairs for which the mask is true; the others are counted as `left_out`."""
        counts = dict(self.left_out)
        if left_out:
            counts[left_out] = counts.get(left_out, 0) + int((~mask).sum())
        parts = {name: getattr(self, name)[mask] for name in ("clean", "contrast", "clean_target", "contrast_target")}
        return replace(self, **parts, left_out=counts)


def make_pairs(
    task: Task,
    n: int,
    *,
    target: str | int,
    contrast: str,
    where: str | None = None,
    contrast_where: str | None = None,
    split: Split = "held-out",
    seed: int = 0,
    tries: int = TRIES,
) -> Pairs:
    """Draw `n` clean inputs, keep those that meet `where`, and give each a contrast with another token at `target`.

    `contrast` is `change:F1,S1` (what stands at these roles is drawn anew, and the answer redone), `random` (another
    draw from the same side of the split) or `flip` (the task's own least change). Of each input's draws, up to `tries`,
    the first is taken that meets `contrast_where` and whose target token differs; inputs that find none are left out.
    Conditions are expressions over the task's features, read at the last eligible position. `target` is a role or an
    index; where an answer is too short for the role, the end token that closes it stands in its place.
    Raises `UserError` for settings that cannot be, and where nothing is left, saying which condition left nothing.
    """
    if n < 1 or tries < 1:
        raise UserError(f"the number of {'pairs' if n < 1 else 'tries'} must be at least 1, not {min(n, tries)}")
    generator = seeded(seed)
    draw = _drawing(task, contrast, split, generator)
    check_place(task, target)
    for condition in filter(None, (where, contrast_where)):
        checked_condition(task, condition)
    clean = task.sample(n, generator=generator, split=split)
    met = _meets(task, where, clean)
    if not met.any():
        raise UserError(f"none of the {n:,} clean inputs drawn meets {where!r}: draw more, or mend the condition")
    clean, left_out = clean[met], {"where": int((~met).sum())}
    at = target_positions(task, clean, target)
    left_out["position"] = int((at < 0).sum())
    clean, at = clean[at >= 0], at[at >= 0]
    if not len(clean):
        raise UserError(f"no clean input has a position {target!r}")
    contrasts = _Contrasts(task, clean, at, target, contrast_where)
    with stage("drawing pairs of inputs", len(clean)):
        for _ in range(tries):
            before = len(contrasts.missing)
            more = contrasts.offer(draw(clean[contrasts.missing]))
            advance(before - len(contrasts.missing))
            if not more:
                break
    left_out["contrast"] = len(contrasts.missing)
    if len(contrasts.missing) == len(clean):
        raise UserError(contrasts.why_none(contrast, tries))
    kept = torch.ones(len(clean), dtype=torch.bool)
    kept[contrasts.missing] = False
    return Pairs(task, clean[kept], contrasts.tokens[kept], at[kept], contrasts.at[kept], left_out)


def check_place(task: Task, at: str | int) -> None:
    """Raise `UserError` for a role or an index that no input has, before any is drawn."""
    index = _index(at)
    if index is None:
        check_role(task, str(at))
    elif not 0 <= index < task.max_length:
        raise UserError(f"position {at} is not in the clean inputs: their positions are 0 to {task.max_length - 1}")


def positions_at(task: Task, tokens: Tokens, at: str | int, which: str = "given") -> Positions:
    """Where a role or an index, counted with the begin token as 0, lies in each input; -1 where it lacks the role.

    Raises `UserError` for a role that the task does not have, and an index out of range or on padding.
    """
    index = _index(at)
    if index is None:
        return task.position_of(tokens, str(at))
    behind = after_end(tokens, task.end)
    longest = int((~behind).sum(dim=1).max()) if len(tokens) else tokens.shape[1]
    if not 0 <= index < longest:
        raise UserError(f"position {at} is not in the {which} inputs: their positions are 0 to {longest - 1}")
    padding = int(behind[:, index].sum())
    if padding:
        raise UserError(
            f"position {at} is padding in {padding:,} of {len(tokens):,} {which} inputs: name a role, or leave these "
            "inputs out by a condition"
        )
    return torch.full((len(tokens),), index, device=tokens.device)


def target_positions(task: Task, tokens: Tokens, target: str | int) -> Positions:
    """Where the target of each input lies, -1 where there is none.

    Where an answer is too short for the role, it is the end token, if that is a part of what the model has to predict.
    """
    positions = positions_at(task, tokens, target, "clean")
    if (positions == 0).any():
        raise UserError("the target cannot be the begin token, since nothing predicts it: give a later position")
    end = first_end(tokens, task.end)
    predicted = task.answer_mask(tokens).gather(1, end[:, None])[:, 0]
    return torch.where((positions < 0) & predicted, end, positions)


class _Contrasts:
    """The contrast inputs found so far, and why others were not taken."""

    def __init__(self, task: Task, clean: Tokens, at: Positions, target: str | int, where: str | None) -> None:
        self.task, self.target, self.condition = task, target, where
        self.answer = clean.gather(1, at[:, None])[:, 0]
        self.tokens, self.at = clean.clone(), at.clone()
        self.missing = torch.arange(len(clean))
        self.met = self.other = 0

    def offer(self, drawn: Tokens) -> bool:
        """Take what fits of one draw for every input that misses its contrast; False when none misses it any more."""
        drawn = F.pad(drawn, (0, self.tokens.shape[1] - drawn.shape[1]), value=self.task.pad)
        at = self._targets(drawn)
        token = drawn.gather(1, at.clamp_min(0)[:, None])[:, 0]
        padding = after_end(drawn, self.task.end).gather(1, at.clamp_min(0)[:, None])[:, 0]
        other = (at > 0) & ~padding & (token != self.answer[self.missing])
        met = _meets(self.task, self.condition, drawn)
        self.met, self.other = self.met + int(met.sum()), self.other + int(other.sum())
        fits = met & other
        rows = self.missing[fits]
        self.tokens[rows], self.at[rows] = drawn[fits], at[fits]
        self.missing = self.missing[~fits]
        return bool(len(self.missing))

    def _targets(self, drawn: Tokens) -> Positions:
        index = _index(self.target)
        return target_positions(self.task, drawn, self.target) if index is None else torch.full_like(drawn[:, 0], index)

    def why_none(self, contrast: str, tries: int) -> str:
        """Say which condition left nothing."""
        tried = f"of {tries} {contrast} contrast inputs drawn for each of {len(self.missing):,} clean ones"
        if not self.met:
            return f"none {tried} meets {self.condition!r}: mend the condition, or change other positions"
        if not self.other:
            return f"none {tried} has another token at the target {self.target}: change positions that it depends on"
        return f"none {tried} both meets {self.condition!r} and has another token at the target {self.target}"


def _drawing(task: Task, contrast: str, split: Split, generator: torch.Generator) -> Callable[[Tokens], Tokens]:
    """What makes a contrast for each clean input."""
    kind, colon, names = contrast.partition(":")
    if kind == "change" and colon:
        roles = tuple(name.strip() for name in names.split(",") if name.strip())
        if not isinstance(task, Contrastable):
            raise UserError(f"{task.name} cannot change an input at named positions: use random")
        if not roles:
            raise UserError("change needs the positions to draw anew, such as change:F1,S1")
        return lambda clean: task.change(clean, roles, generator)
    if contrast == "flip":
        if not isinstance(task, Flippable):
            raise UserError(f"{task.name} has no flip: use change:POS,... or random")
        return lambda clean: task.flip(clean, generator)
    if contrast == "random":
        return lambda clean: task.sample(len(clean), generator=generator, split=split)
    raise UserError(f"there is no contrast {contrast!r}: use {KINDS}")


def _meets(task: Task, condition: str | None, tokens: Tokens) -> InputMask:
    if condition is None:
        return torch.ones(len(tokens), dtype=torch.bool)
    return holds(task, condition, tokens, last_eligible(task, tokens))


def _checked_target(task: Task, name: str, tokens: Tensor, target: Tensor) -> None:
    if target.shape != (len(tokens),) or target.is_floating_point():
        raise UserError(f"the {name} target must be a position for each of the {len(tokens)} inputs: integers [batch]")
    if len(target) and not (int(target.min()) >= 1 and int(target.max()) < tokens.shape[1]):
        wrong = int(target.min()) if int(target.min()) < 1 else int(target.max())
        raise UserError(f"position {wrong} cannot be the {name} target: it is one of 1 to {tokens.shape[1] - 1}")
    padding = int(after_end(tokens, task.end).gather(1, target[:, None]).sum())
    if padding:
        raise UserError(f"the target is padding in {padding:,} of {len(tokens):,} {name} inputs")


def _index(at: str | int) -> int | None:
    digits = str(at).removeprefix("-")
    return int(at) if digits.isascii() and digits.isdigit() else None
