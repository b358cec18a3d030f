"""What a model says of a task's answer: how often it is right, and how far patches move what it predicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversionview.probed.model import Patch, ProbedModel
from inversionview.progress import advance, stage
from inversionview.shapes import Activations, OneInput, PositionMask, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task

_BLOCK_VALUES = 2**24
"""Logits, or values inside a block of the model, that are computed at once."""
_BLOCK_INPUTS = 2048


def predicting(task: Task, tokens: Tokens, position: int) -> Int[Tensor, " output"]:
    """Positions of the one input `[1, pos]`, from `position` on, whose next token is part of the answer.

    Without any, the last position before the end.
    """
    answer = task.answer_mask(tokens)[0, 1:].nonzero()[:, 0]
    answer = answer[answer >= position]
    return answer if len(answer) else task.eligible(tokens)[0].nonzero()[-1]


@torch.no_grad()
def exact_match(probed: ProbedModel, task: Task, tokens: Tokens, *, block: int = 4096) -> float:
    """Share of inputs whose answer the model gets right by greedy decoding, between 0 and 1.

    One forward an input is enough: greedy decoding gives the whole answer exactly if each of its tokens is the most
    likely one after the right ones before it, end token included. Logits are made where answers are predicted, of at
    most `block` inputs and as many as memory bears.
    """
    answer = task.answer_mask(tokens)[:, 1:].cpu()
    right = torch.ones(len(tokens), dtype=torch.bool)
    with stage("looking at the model's answers", len(tokens)):
        for rows, columns in _alike(answer):
            for part in torch.split(rows, min(block, inputs_at_once(probed, int(columns[-1]) + 1, len(columns)))):
                here = tokens[part, : int(columns[-1]) + 1]
                predicted = probed.logits(here, positions=columns.expand(len(part), -1)).argmax(-1).cpu()
                right[part] = ((predicted == tokens[part].cpu()[:, columns + 1]) | ~answer[part][:, columns]).all(dim=1)
                advance(len(part))
    return float(right.sum()) / len(tokens)


def _alike(answer: PositionMask) -> Iterator[tuple[Int[Tensor, " row"], Int[Tensor, " column"]]]:
    """Inputs whose answers are predicted at the same positions, and from the first to the last of these."""
    first, last = answer.long().argmax(dim=1), answer.shape[1] - 1 - answer.long().flip(1).argmax(dim=1)
    rows = answer.any(dim=1).nonzero()[:, 0]
    for ends in torch.unique(torch.stack([first, last], dim=1)[rows], dim=0):
        alike = (first[rows] == ends[0]) & (last[rows] == ends[1])
        yield rows[alike], torch.arange(int(ends[0]), int(ends[1]) + 1)


def divergence(
    clean: Float[Tensor, "*any_or_one vocab"], patched: Float[Tensor, "*any vocab"]
) -> Float[Tensor, "*any"]:
    """KL(clean ‖ patched) of the next token in nats, from logits, in fp64 on the CPU."""
    p, q = (logits.double().cpu().log_softmax(dim=-1) for logits in (clean, patched))
    terms = torch.where(p.exp() == 0, 0.0, p.exp() * (p - q))  # not where it is NaN
    total: Tensor = terms.sum(dim=-1)
    return total


def inputs_at_once(probed: ProbedModel, positions: int, outputs: int) -> int:
    """How many inputs of so many positions, with logits at so many of them, memory bears in one forward."""
    largest = max(outputs * probed.vocab_size, 4 * positions * probed.d_model)
    return max(1, min(_BLOCK_INPUTS, _BLOCK_VALUES // largest))


@torch.no_grad()
def captured(probed: ProbedModel, site: Site | str, tokens: Tokens, positions: Positions) -> Activations:
    """Activations at one position of each input in fp32 on the CPU, run in blocks."""
    block = inputs_at_once(probed, tokens.shape[1], 0)
    parts = zip(torch.split(tokens, block), torch.split(positions, block), strict=True)
    activations = [value.float().cpu() for part, at in parts for value in probed.capture(part, [site], at).values()]
    return torch.cat(activations)


class Effects(NamedTuple):
    """What each activation did to the output of the run it was put into."""

    kl: Float[Tensor, "batch output"]
    """KL(clean ‖ patched) of the next token in nats, in fp64."""
    same_top: Bool[Tensor, "batch output"]
    """Whether the most probable next token is the clean run's."""


class PatchedRun:
    """One input's run, and what becomes of its output when the activation at one site and position is replaced.

    `tokens`: the input, `outputs`: positions, none before `position`. Of each run only what comes after `position`, and
    the layers from the site's on, are run again.
    """

    @torch.no_grad()
    def __init__(
        self, probed: ProbedModel, tokens: OneInput, site: Site | str, position: int, outputs: Int[Tensor, " output"]
    ) -> None:
        self._probed, self._site, self._position, self._outputs = probed, site, position, outputs
        self._run = probed.clean_run(tokens[None, : int(outputs.max()) + 1], position)
        self._block = inputs_at_once(probed, int(outputs.max()) + 1 - position, len(outputs))
        self.clean: Float[Tensor, "output vocab"] = self._logits(1)[0]

    @torch.no_grad()
    def effects(self, values: Activations) -> Effects:
        """What each of these activations, `[batch, width]` in the model's convention, does in the own one's place."""
        kl, same = [], []
        top = self.clean.argmax(dim=-1).cpu()
        for part in torch.split(values, self._block):
            logits = self._logits(len(part), Patch(self._site, self._position, part))
            kl.append(divergence(self.clean, logits))
            same.append(logits.argmax(dim=-1).cpu() == top)
            advance(len(part))
        return Effects(torch.cat(kl), torch.cat(same))

    def _logits(self, batch: int, *patches: Patch) -> Float[Tensor, "batch output vocab"]:
        rows = torch.zeros(batch, dtype=torch.long)
        return self._probed.rerun(self._run, patches, rows=rows, positions=self._outputs.expand(batch, -1))
