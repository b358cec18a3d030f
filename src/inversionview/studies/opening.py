"""From the names of a domain and a model to the live parts of a study."""

from __future__ import annotations

from pathlib import Path

import torch

from inversionview.criterion import DEFAULT, Criterion
from inversionview.errors import UserError
from inversionview.probed.loading import AS_USUAL, Loading
from inversionview.probed.model import ProbedModel
from inversionview.studies.finding import is_study
from inversionview.studies.folder import open_folder, with_model
from inversionview.studies.models import check_loads, load_probed, say_begin
from inversionview.studies.parts import LiveParts
from inversionview.studies.recipes import DECODER_RECIPES, PROBED_RECIPES, Budget, DecoderRecipe, TaskSource
from inversionview.tasks import TASKS, Task, get_task
from inversionview.tasks.template.bundled import open_template
from inversionview.tasks.template.file import read_template

_TRIED = 256
"""Inputs that are drawn to see which tokens a task needs."""

NULL = "null:0.02"
"""The ε for a model that no study was made of: each site and position has another scale."""
FEW_INPUTS = 500
"""In a domain of fewer, too many unrelated inputs are the same for that."""


def open_domain(
    domain: str | Path,
    model: str | Path | ProbedModel,
    *,
    source: TaskSource | None = None,
    convention: str | None = None,
    name: str | None = None,
    how: Loading = AS_USUAL,
) -> LiveParts:
    """The parts of a study of this model on a domain; see `studies.study.open_study`."""
    recipe = DECODER_RECIPES[str(domain)](Budget(), 0) if str(domain) in DECODER_RECIPES else None
    is_template = str(domain).endswith(".toml")
    if recipe is None and str(domain) not in TASKS and not is_template:
        if is_study(domain):
            return with_model(open_folder(domain), model, convention, how)
        there_are = ", ".join(dict.fromkeys([*TASKS, *DECODER_RECIPES]))
        raise UserError(
            f"there is no domain {str(domain)!r}: give a study's folder, or one of {there_are}, or a .toml file"
        )
    if is_template:
        read_template(domain)  # what is wrong with it is said before a model is loaded
    check_loads(model, how)
    if isinstance(model, ProbedModel):
        probed = model
    else:
        usual = "raw" if recipe is None else recipe.convention
        probed = load_probed(model, how, convention=convention, usual=usual)
    if is_template and source is None:
        task: Task = open_template(domain, probed)
    else:
        task = task_of(recipe, recipe.task if recipe else str(domain), probed, source)
    check_fits(probed, task)
    if probed is not model:
        say_begin(probed, task, how)
    criterion = DEFAULT if recipe is None else Criterion.parse(recipe.epsilon, recipe.metric)
    if str(domain) not in PROBED_RECIPES and (task.size is None or task.size >= FEW_INPUTS):
        criterion = criterion.but(NULL)
    return LiveParts(name or task.name, probed, task, criterion=criterion)


def task_of(recipe: DecoderRecipe | None, name: str, probed: ProbedModel, source: TaskSource | None) -> Task:
    """The task that a recipe makes for a model, or the one of this name."""
    if recipe is not None and recipe.make_task is not None:
        return recipe.make_task(probed, source or TaskSource())
    if source is not None:
        raise UserError(f"inputs of {name} are not made of texts: leave out --texts, --column and --length")
    return get_task(name, None, lambda: probed)


def check_fits(probed: ProbedModel, task: Task) -> None:
    """Raise `UserError` where the model has too few tokens or positions for the task."""
    needs = task.vocab_size
    if probed.vocab_size < needs:  # a tokenizer may well have tokens that no input needs and the model lacks
        needs = 1 + int(task.sample(_TRIED, generator=torch.Generator().manual_seed(0)).max())
    for what, has, wanted in (
        ("tokens in its vocabulary", probed.vocab_size, needs),
        ("positions", probed.max_length, task.max_length),
    ):
        if has < wanted:
            raise UserError(
                f"the model does not fit task {task.name}: it has {has} {what}, and the task needs {wanted}"
            )
