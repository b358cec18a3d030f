"""Ablation: an activation replaced by the mean over other inputs, or by another input's, and what that does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.errors import UserError
from inversionview.probed.model import Patch, ProbedModel
from inversionview.results.patching import Replacement
from inversionview.seeds import seeded
from inversionview.shapes import Activations, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.outputs import captured, divergence, inputs_at_once, predicting
from inversionview.tasks.positions import first_end

Sources = Int[Tensor, "source source_pos"]
"""Inputs of the task that activations are taken from."""

SOURCES = 2000
"""Held-out inputs that are drawn where none are given to take activations from."""


class OutputEffect(NamedTuple):
    """What the ablation did to the prediction of the next token at one position, over the inputs that have it."""

    at: str
    n: int
    kl: float
    """Mean of KL(clean ‖ ablated) in nats."""
    kl_se: float | None
    """Standard error of the mean over inputs; None for one input."""
    kl_max: float
    top_logit: float
    """Mean change, ablated less clean, of the logit that is the largest in the clean run."""
    top_logit_se: float | None


@dataclass(frozen=True, eq=False)
class Ablation:
    """What the ablation of one site at one position did to later predictions of each input."""

    site: str
    at: str
    kind: Replacement
    sources: int
    """Inputs that the activations were taken from."""
    seed: int
    outputs: tuple[str, ...]
    """Positions whose next token is looked at: roles, or indices as given."""
    kl: Float[Tensor, "batch output"]
    """KL(clean ‖ ablated) of the next token in nats, fp64; NaN where an input lacks the position."""
    top_logit: Float[Tensor, "batch output"]
    """Change, ablated less clean, of the logit that is the largest in the clean run; NaN as above."""

    def __repr__(self) -> str:
        effects = ", ".join(f"KL {effect.kl:.3g} nats at {effect.at}" for effect in self.effects)
        return f"<Ablation of {self.site} at {self.at} ({self.kind}), {len(self.kl):,} inputs: {effects}>"

    @property
    def effects(self) -> tuple[OutputEffect, ...]:
        """Mean, standard error and largest effect at each output."""
        return tuple(map(_effect, self.outputs, self.kl.unbind(1), self.top_logit.unbind(1)))

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "schema": 1,
            "site": self.site,
            "at": self.at,
            "kind": self.kind,
            "n": len(self.kl),
            "sources": self.sources,
            "seed": self.seed,
            "effects": [effect._asdict() for effect in self.effects],
        }


@torch.no_grad()
def ablate(
    probed: ProbedModel,
    task: Task,
    tokens: Tokens,
    site: Site | str,
    at: str | int,
    *,
    kind: str = "mean",
    sources: Sources | None = None,
    outputs: Sequence[str | int] | None = None,
    seed: int = 0,
) -> Ablation:
    """Replace the activation at `site` and `at`, a role or an index, in each input's run, and compare the predictions.

    `mean`: by the mean, in fp64, over `sources` at the position that plays the same role. `resample`: by that of one
    of them, drawn at random, which is another input. `sources`: inputs of the task, by default 2,000 held-out ones.
    `outputs`: positions, roles or indices, at or after the ablated one, whose next token is looked at; by default those
    that predict the answer. What is done is seen at the `outputs` themselves, not at what comes before them.
    Raises `UserError` for another kind, no inputs, a position that some input lacks or that comes after an output, and
    sources of which none (for `resample`, no other input) has the role.
    """
    if kind not in get_args(Replacement):
        raise UserError(f"unknown kind of ablation {kind!r}: use {' or '.join(get_args(Replacement))}")
    if not len(tokens):
        raise UserError("give at least one input to ablate")
    generator = seeded(seed)
    given = task.sample(SOURCES, generator=generator, split="held-out") if sources is None else sources
    places = _places(task, tokens, at)
    if (places < 0).any():
        lacks = task.decode(tokens[int((places < 0).nonzero()[0])])
        raise UserError(f"{lacks} has no position {at!r} to ablate")
    names = _names(task, tokens, places, outputs)
    looked = torch.stack([_places(task, tokens, name) for name in names], dim=1)
    for name, column in zip(names, looked.unbind(1), strict=True):
        if (column < 0).all():
            raise UserError(f"none of the {len(tokens)} inputs has a position {name!r} to look at")
    early = ((looked >= 0) & (looked < places[:, None])).any(dim=0)
    if early.any():
        name = names[int(early.nonzero()[0])]
        raise UserError(f"the output at {name!r} comes before {at!r}, and nothing done there reaches it")
    values = _replacements(
        probed, task, tokens, places, site=probed.site(site), sources=given, kind=kind, generator=generator
    )
    measured = _measured(probed, tokens, probed.site(site), places, values=values, looked=looked)
    return Ablation(
        str(probed.site(site)), str(at), cast(Replacement, kind), len(given), seed, tuple(map(str, names)), *measured
    )


def _places(task: Task, tokens: Tokens, at: str | int) -> Positions:
    """Index of a role, or the index itself, in each input; -1 where it has none. Padding has no role."""
    if isinstance(at, str):
        return task.position_of(tokens, at)
    end = first_end(tokens, task.end)
    length = torch.where(end > 0, end + 1, tokens.shape[1])
    return torch.where((at >= 0) & (at < length), at, -1)


def _names(task: Task, tokens: Tokens, places: Positions, outputs: Sequence[str | int] | None) -> list[str | int]:
    if outputs is not None:
        if not outputs:
            raise UserError("give at least one output to look at, or none for those that predict the answer")
        return list(outputs)
    positions: dict[str | int, int] = {}
    # Inputs of one shape have the same roles; a thousand of them show all shapes that are not very rare.
    for row, place in zip(tokens[:1000], places[:1000].tolist(), strict=True):
        for position in predicting(task, row[None], place).tolist():
            positions.setdefault(task.role(row, position), position)
    return sorted(positions, key=positions.__getitem__)


def _replacements(
    probed: ProbedModel, task: Task, tokens: Tokens, places: Positions, *, site: Site, sources: Sources, kind: str,
    generator: Generator,
) -> Activations:  # fmt: skip
    """What each input's activation is replaced by, from the sources at the same role."""
    values = torch.empty(len(tokens), probed.width(site))
    roles = _roles(task, tokens, places)
    for role in dict.fromkeys(roles):
        rows = torch.tensor([i for i, other in enumerate(roles) if other == role])
        positions = task.position_of(sources, role)
        have = positions >= 0
        if not have.any():
            raise UserError(f"none of the {len(sources)} inputs to take activations from has a position {role!r}")
        from_, positions = sources[have], positions[have]
        if kind == "mean":
            values[rows] = captured(probed, site, from_, positions).double().mean(dim=0).float()
        else:
            chosen = _others(tokens[rows], from_, task.pad, role, generator)
            values[rows] = captured(probed, site, from_[chosen], positions[chosen])
    return values


def _roles(task: Task, tokens: Tokens, places: Positions) -> list[str]:
    """The role of each input's place. Inputs are asked one by one only where the first one's role is not theirs."""
    role = task.role(tokens[0], int(places[0]))
    if bool((task.position_of(tokens, role) == places).all()):
        return [role] * len(tokens)
    return task.roles_at(tokens, places)


def _others(tokens: Tokens, sources: Sources, pad: int, role: str, generator: Generator) -> Int[Tensor, " batch"]:
    """A random source for each input that is not the input itself, uniform over the others."""
    width = max(tokens.shape[1], sources.shape[1])
    wide, others = (torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=pad) for rows in (tokens, sources))
    chosen = torch.randint(len(sources), (len(tokens),), generator=generator)
    for _ in range(64):
        same = (others[chosen] == wide).all(dim=1).nonzero()[:, 0]
        if not len(same):
            return chosen
        chosen[same] = torch.randint(len(sources), (len(same),), generator=generator)
    raise UserError(f"there is no other input with a position {role!r} to resample from: give more sources")


def _measured(
    probed: ProbedModel, tokens: Tokens, site: Site, places: Positions, *, values: Activations,
    looked: Int[Tensor, "batch output"],
) -> tuple[Float[Tensor, "batch output"], Float[Tensor, "batch output"]]:  # fmt: skip
    """KL and change of the top logit of each input at each output, in blocks; NaN where there is no such output."""
    block = inputs_at_once(probed, tokens.shape[1], looked.shape[1])
    kl, top = [], []
    for rows, at, value, where in zip(*(torch.split(p, block) for p in (tokens, places, values, looked)), strict=True):
        there = torch.where(where < 0, at[:, None], where)
        run = probed.clean_run(rows[:, : int(there.max()) + 1], int(at.min()))
        clean = probed.rerun(run, positions=there)
        ablated = probed.rerun(run, [Patch(site, at, value)], positions=there)
        best = clean.argmax(dim=-1, keepdim=True)
        change = (ablated.gather(-1, best) - clean.gather(-1, best))[..., 0].double().cpu()
        moved = divergence(clean, ablated)
        if moved.isnan().any():
            raise UserError("the logits are not finite: the probed model overflows there, so use a wider dtype")
        kl.append(moved.masked_fill(where < 0, torch.nan))
        top.append(change.masked_fill(where < 0, torch.nan))
    return torch.cat(kl), torch.cat(top)


def _effect(at: str, kl: Float[Tensor, " batch"], top: Float[Tensor, " batch"]) -> OutputEffect:
    kl, top = kl[~kl.isnan()], top[~top.isnan()]
    n = len(kl)

    def error(values: Tensor) -> float | None:
        return float(values.std() / math.sqrt(n)) if n > 1 else None

    return OutputEffect(at, n, float(kl.mean()), error(kl), float(kl.max()), float(top.mean()), error(top))
