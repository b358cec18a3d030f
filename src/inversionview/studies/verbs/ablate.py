"""Ablation of a study's model, on inputs as one types them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from inversionview.causal.ablation import Ablation, ablate
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.studies.parts import Parts, checked_site
from inversionview.studies.settings import AblateSettings
from inversionview.tasks.base import Task


def ablate_inputs(
    parts: Parts, inputs: str | Sequence[str], site: str | Site, at: str | int, settings: AblateSettings
) -> Ablation:
    """What the ablation of a site at a position does to later predictions; see `Study.ablate`."""
    return ablate(
        parts.probed,
        parts.task,
        encoded(parts.task, inputs),
        checked_site(parts, site),
        at,
        kind=settings.kind,
        outputs=settings.outputs,
        seed=settings.seed,
    )


def encoded(task: Task, inputs: str | Sequence[str]) -> Tokens:
    """The tokens [batch, pos] of one input or several. Raises `UserError` for one that is not in the domain."""
    rows = [task.encode(text) for text in ([inputs] if isinstance(inputs, str) else inputs)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=task.pad)
