"""Training runs that end in a study: a probed model from scratch, and a decoder for a probed model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.decoder.loading import save_decoder
from inversionview.decoder.model import Decoder
from inversionview.decoder.training import CellHits, DecoderObjective, make_decoder
from inversionview.errors import UserError
from inversionview.files import atomic_folder, new_folder
from inversionview.preimage.rates import in_epsilon
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies import description as on_disk
from inversionview.studies.description import DECODER, PROBED, TRAINING, StudyDescription
from inversionview.studies.evaluate import held_out_accuracy
from inversionview.studies.recipes import DECODER_RECIPES, Budget, decoder_recipe, probed_recipe
from inversionview.studies.train_probed import ProbedObjective
from inversionview.tasks import Task, get_task
from inversionview.training import (
    Logger,
    Objective,
    TrainingConfig,
    TrainingResult,
    default_device,
    saved_config,
    train,
)

COPIED_BELOW = 10**9
"""Bytes of weights below which a probed model is copied into the study, so that the folder is all there is to it."""


@dataclass(frozen=True)
class Target:
    """What a decoder is to be trained for."""

    task: str
    model: str | Path | None
    convention: str
    sites: tuple[str, ...] | None
    """None: the default ones of the model."""
    metric: str
    epsilon: float
    fingerprint: str | None = None
    """Of the model, where it is known which one it must be."""


def train_probed(
    recipe: str,
    out: str | Path,
    *,
    budget: Budget | None = None,
    seed: int | None = None,
    resume: bool = False,
    logger: Logger | None = None,
) -> tuple[TrainingResult, float | None]:
    """Train a probed model by the recipe of this name, into a study in the folder `out` that has no decoder yet.

    Gives what came of the run and the exact match on held-out inputs; that is None when a signal ended the run, and in
    every process but the first. Raises `UserError` for an unknown recipe, and as `training.train` does.
    """
    out, budget = Path(out), budget or Budget()
    plan = probed_recipe(recipe)(budget, seed or 0)
    config = _config(plan.training, out, budget, seed, resume=resume)
    _claim(out, resume=resume)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        # Fused attention is slow in the backward pass for sequences as short as these.
        fields = {**plan.model, "attn_implementation": "eager"}
        model = GPT2LMHeadModel(GPT2Config(**fields))
    nn.Module.to(model, default_device())
    objective = ProbedObjective(model, get_task(plan.task), config.seed)
    result = train(objective, config, out / TRAINING, resume=resume, logger=logger)
    if result.interrupted or not _is_first_process():
        return result, None
    probed = ProbedModel(model, convention=plan.convention)
    reading = decoder_recipe(plan.task)(Budget(), 0)
    target = Target(plan.task, None, plan.convention, None, reading.metric, reading.epsilon)
    on_disk.write_description(out, _describe(out, target, probed, kept=_keep(probed, None, out)))
    return result, held_out_accuracy(probed, objective.task)


def train_decoder(
    source: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    convention: str | None = None,
    sites: Sequence[str] | None = None,
    budget: Budget | None = None,
    seed: int | None = None,
    resume: bool = False,
    logger: Logger | None = None,
) -> TrainingResult:
    """Train a decoder, into a study in the folder `out`; `source` is a recipe's name or a study's folder.

    `model` (a folder, a study's folder or the hub's name), `convention` and `sites` replace the source's. With `resume`
    a run goes on as it was started, and whatever is given again must be the same.
    Raises `UserError` for an unknown source, a model that does not fit the task, and as `training.train` does.
    """
    out, budget = Path(out), budget or Budget()
    if resume and not (out / on_disk.FILE).is_file():
        raise UserError(f"there is no run in {out} to resume; start it without resuming")
    target = _with(_target(out if resume else source), model, convention, sites, resume=resume)
    plan = decoder_recipe(target.task)(budget, seed or 0)
    config = _config(plan.training, out, budget, seed, resume=resume)
    _claim(out, resume=resume)
    probed, task = _probed(target), get_task(target.task)
    _check_fits(probed, task)
    described = _describe(out, target, probed, kept=PROBED)
    names = [Site.parse(site) for site in described.sites]
    decoder = make_decoder(probed, task, names, seed=config.seed, **plan.decoder).to(probed.device)
    if not resume and _is_first_process():
        described = dataclasses.replace(described, probed=_keep(probed, target.model, out))
        on_disk.write_description(out, described)
    data = dataclasses.replace(plan.data, seed=config.seed)
    objective = DecoderObjective(decoder, probed, task, data, _Rates(probed, task, target, plan.rate_queries))
    result = train(cast(Objective, objective), config, out / TRAINING, resume=resume, logger=logger)
    if not result.interrupted and _is_first_process():
        save_decoder(decoder, out / DECODER)
        described = on_disk.read_description(out)
        on_disk.write_description(out, dataclasses.replace(described, decoder=DECODER))
    return result


def default_sites(probed: ProbedModel, kinds: Sequence[str]) -> tuple[str, ...]:
    """The first residual stream, then the sites of these kinds in each layer."""
    return tuple(str(site) for site in probed.sites if site.kind in kinds or site == Site("resid_pre", 0))


@dataclass(frozen=True)
class _Rates:
    """The in-ε rate at each site and position, on training inputs: it steers the training, and nothing held out may."""

    probed: ProbedModel
    task: Task
    target: Target
    n: int

    def __call__(self, decoder: Decoder) -> CellHits:
        found = in_epsilon(
            decoder,
            self.probed,
            self.task,
            self.n,
            epsilon=self.target.epsilon,
            metric=self.target.metric,
            generator=torch.Generator().manual_seed(0),
            floor=False,
            split="train",
        )
        hits = torch.zeros(len(decoder.config.sites), decoder.config.max_length)
        drawn = torch.zeros_like(hits)
        positions = torch.from_numpy(found.positions)
        inside = torch.from_numpy(found.samples.any)
        return CellHits(
            hits.scatter_add(1, positions, inside.float()),
            drawn.scatter_add(1, positions, torch.ones_like(inside.float())),
        )


def _target(source: str | Path) -> Target:
    if isinstance(source, str) and source in DECODER_RECIPES:
        recipe = DECODER_RECIPES[source](Budget(), 0)
        model = on_disk.bundled_studies().get(source)
        return Target(recipe.task, model, recipe.convention, None, recipe.metric, recipe.epsilon)
    try:
        folder = on_disk.find_study(source)
    except UserError as error:
        recipes = ", ".join(DECODER_RECIPES)
        raise UserError(f"{error}; the recipes are: {recipes}") from error
    study = on_disk.read_description(folder)
    return Target(study.task, folder, study.convention, study.sites, study.metric, study.epsilon, study.fingerprint)


def _with(
    target: Target,
    model: str | Path | None,
    convention: str | None,
    sites: Sequence[str] | None,
    *,
    resume: bool,
) -> Target:
    """The target with what was asked for in its place; when resuming, that must be what is there already."""
    names = None if sites is None else tuple(str(Site.parse(site)) for site in sites)
    if not resume:
        if model is not None:
            target = dataclasses.replace(target, model=model, sites=None, fingerprint=None)
        if target.model is None:
            raise UserError(f"there is no bundled model for task {target.task} here: give one with --model")
        return dataclasses.replace(target, convention=convention or target.convention, sites=names or target.sites)
    for what, asked, there in (("convention", convention, target.convention), ("sites", names, target.sites)):
        if asked is not None and asked != there:
            raise UserError(f"the run was started with {what} {_listed(there)}, not {_listed(asked)}")
    return target if model is None else dataclasses.replace(target, model=model)


def _probed(target: Target) -> ProbedModel:
    assert target.model is not None
    source: str | Path = target.model
    if (Path(source) / on_disk.FILE).is_file():
        study = on_disk.read_description(Path(source))
        source = Path(source) / study.probed if (Path(source) / study.probed).is_dir() else study.probed
    probed = ProbedModel.from_pretrained(source, convention=target.convention, device=default_device())
    if target.fingerprint not in (None, probed.fingerprint):
        raise UserError(
            f"the model in {source} is another one than the run was started with: its fingerprint is "
            f"{probed.fingerprint[:12]}, not {str(target.fingerprint)[:12]}"
        )
    return probed


def _check_fits(probed: ProbedModel, task: Task) -> None:
    for what, has, needs in (
        ("tokens in its vocabulary", probed.vocab_size, task.vocab_size),
        ("positions", probed.max_length, task.max_length),
    ):
        if has < needs:
            raise UserError(f"the model does not fit task {task.name}: it has {has} {what}, and the task needs {needs}")


def _config(config: TrainingConfig, out: Path, budget: Budget, seed: int | None, *, resume: bool) -> TrainingConfig:
    """The recipe's training config; of a run that is resumed the saved one, changed where something was given again."""
    if not resume:
        return config
    saved = saved_config(out / TRAINING)
    return dataclasses.replace(
        saved,
        seed=saved.seed if seed is None else seed,
        **budget.or_else(minutes=saved.minutes, steps=saved.steps),
    )


def _claim(out: Path, *, resume: bool) -> None:
    if _is_first_process():
        new_folder(out, resume=resume)


def _describe(out: Path, target: Target, probed: ProbedModel, *, kept: str) -> StudyDescription:
    return StudyDescription(
        name=out.resolve().name,
        task=target.task,
        convention=probed.convention,
        sites=target.sites or default_sites(probed, decoder_recipe(target.task)(Budget(), 0).kinds),
        metric=target.metric,
        epsilon=target.epsilon,
        probed=kept,
        fingerprint=probed.fingerprint,
        decoder=None,
    )


def _keep(probed: ProbedModel, source: str | Path | None, out: Path) -> str:
    """Copy a model into the study, or give the name by which it is found again when it is too large for that."""
    size = sum(p.numel() * p.element_size() for p in probed.model.parameters())
    if source is not None and size >= COPIED_BELOW:
        return str(Path(source).resolve()) if Path(source).is_dir() else str(source)
    with atomic_folder(out / PROBED) as part:
        probed.model.save_pretrained(part)
        if probed.tokenizer is not None:
            probed.tokenizer.save_pretrained(part)
    return PROBED


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _listed(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
