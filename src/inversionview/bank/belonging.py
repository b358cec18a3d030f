"""What a bank belongs to: the model, the tokenizer and the task whose inputs it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks.base import Task

_TRIED = 256
"""Inputs by which a task is known."""

_MADE_WITH = {
    "tokenizer_digest": "another tokenizer",
    "task": "another task",
    "task_digest": "another version of the task, whose inputs or features differ",
    "convention": "activations of another form",
    "dtype": "another type of numbers",
    "fingerprint": "another model, or other views of it",
}


def belonging(probed: ProbedModel, task: Task, sites: Iterable[Site]) -> dict[str, str]:
    """What must be the same where a bank is read again."""
    return {
        "task": task.name,
        "task_digest": _task_digest(task),
        "tokenizer_digest": _tokenizer_digest(task),
        "convention": probed.convention,
        "dtype": str(probed.model.dtype).removeprefix("torch."),
        "fingerprint": probed.fingerprint_of(sites),
    }


def check_belongs(kept: Mapping[str, Any], wanted: Mapping[str, str], where: str) -> None:
    """Raise `UserError` that says what is another one than the bank at `where` was made with."""
    for name, what in _MADE_WITH.items():
        if kept.get(name) != wanted[name]:
            was, is_now = (str(made.get(name))[:12] for made in (kept, wanted))
            raise UserError(f"the bank {where} was made with {what} ({was}, not {is_now}): make one for these")


def _tokenizer_digest(task: Task) -> str:
    words, tokenizer = task.vocabulary, task.tokenizer
    ids = [words.begin, words.end, words.pad, words.size]
    names = [words.text([token]) for token in range(words.size)] if tokenizer is None else tokenizer.get_vocab()
    return _digest([ids, sorted(names.items()) if isinstance(names, dict) else names])


def _task_digest(task: Task) -> str:
    drawn = task.sample(_TRIED, generator=torch.Generator().manual_seed(0), split="train")
    features = {name: feature.values for name, feature in task.features.items()}
    return _digest([task.name, task.max_length, list(task.roles), features, drawn.tolist()])


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
