"""How well a probed model does a task."""

from __future__ import annotations

import torch

from inversionview.probed.model import ProbedModel
from inversionview.shapes import Tokens
from inversionview.tasks.base import Task


@torch.no_grad()
def exact_match(probed: ProbedModel, task: Task, tokens: Tokens, *, block: int = 4096) -> float:
    """Share of inputs whose answer the model gets right by greedy decoding, between 0 and 1.

    One forward an input is enough: greedy decoding gives the whole answer exactly if each of its tokens is the most
    likely one after the right ones before it, end token included.
    """
    right = 0
    for rows in torch.split(tokens, block):
        predicted = probed.logits(rows)[:, :-1].argmax(-1).cpu()
        right += int(((predicted == rows[:, 1:].cpu()) | ~task.answer_mask(rows)[:, 1:].cpu()).all(dim=1).sum())
    return right / len(tokens)
