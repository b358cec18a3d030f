"""Models that a study is to look at, loaded in the form in which its task is read, and what is to be said of them."""

from __future__ import annotations

import logging
from pathlib import Path

from inversionview.errors import UserError
from inversionview.probed.conventions import NotDerivedError
from inversionview.probed.loading import AS_USUAL, Loading, load, load_plain
from inversionview.probed.model import ProbedModel
from inversionview.probed.tokenizers import begin_of, note_on_begin
from inversionview.tasks import Task

_log = logging.getLogger(__name__)


def load_probed(
    model: str | Path, how: Loading, *, convention: str | None, usual: str, own_copy: bool = False
) -> ProbedModel:
    """A model by its path or name, in the convention asked for.

    Where none is, in the usual one of the study or recipe, or, if that is not derived for this model, raw, which is
    said. `own_copy`: of a study, which is read by it alone and so may be in plain PyTorch. Raises `UserError` as
    `ProbedModel.from_pretrained` does.
    """
    plain = load_plain(Path(model), how) if own_copy else None
    live, tokenizer = load(model, how=how) if plain is None else plain
    try:
        return ProbedModel(live, tokenizer, convention=convention or usual, checked=False)
    except NotDerivedError:
        if convention is not None:
            raise
        _log.warning(
            "convention %s is not derived for RMSNorm: this model's activations are read as they are (raw)", usual
        )
        return ProbedModel(live, tokenizer, convention="raw", checked=False)


def say_begin(probed: ProbedModel, task: Task, how: Loading) -> None:
    """Say which token stands before a text, where the model's own tokenizer does not put it there."""
    tokenizer = probed.tokenizer
    if tokenizer is None or how.begin is not None or getattr(task, "note", None):
        return
    if task.begin == tokenizer.convert_tokens_to_ids(begin_of(tokenizer)) and (note := note_on_begin(tokenizer)):
        _log.warning(note)


def check_loads(model: object, how: Loading) -> None:
    """Raise `UserError` where it is said how to load a model that is in memory."""
    if isinstance(model, ProbedModel) and how != AS_USUAL:
        raise UserError(
            "revision, base, begin, device and dtype are for a model that is loaded by its path or name; this one is "
            "in memory: give them to ProbedModel.from_pretrained"
        )
