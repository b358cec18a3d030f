"""Training runs that end in a study: a probed model from scratch, and a decoder for a probed model."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inversionview.bank.folder import INDEX, load_bank
from inversionview.criterion import Criterion, SiteEpsilons
from inversionview.decoder.backbone import SELF
from inversionview.decoder.loading import save_decoder
from inversionview.decoder.model import Decoder
from inversionview.decoder.places import ANYWHERE, Places, make_places
from inversionview.decoder.pretrained import check_self_decoder
from inversionview.decoder.training import CellHits, DecoderObjective, Pretrained, make_decoder
from inversionview.errors import UserError
from inversionview.files import claimed, filled
from inversionview.preimage.epsilon.calibration import check_of_study, site_epsilons
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.probed.loading import AS_USUAL, Loading
from inversionview.probed.model import ProbedModel
from inversionview.probed.places import place_of
from inversionview.probed.site_groups import select
from inversionview.progress import doing
from inversionview.sites import Site
from inversionview.studies import description as on_disk
from inversionview.studies.description import DECODER, PROBED, TASK, TRAINING
from inversionview.studies.finding import find_study
from inversionview.studies.folder import criterion_of, describe, keep_model, keep_task, model_of
from inversionview.studies.models import load_probed, say_begin
from inversionview.studies.opening import check_fits, task_of
from inversionview.studies.parts import LiveParts
from inversionview.studies.recipes import (
    DECODER_RECIPES,
    Budget,
    DecoderRecipe,
    ProbedRecipe,
    TaskSource,
    decoder_recipe,
    probed_recipe,
)
from inversionview.studies.settings import Layers
from inversionview.studies.study import Study
from inversionview.studies.train_probed import ProbedObjective
from inversionview.studies.verbs.evaluate import held_out_accuracy
from inversionview.tasks import Task, get_task
from inversionview.training import (
    Clock,
    Logger,
    TrainingConfig,
    TrainingResult,
    default_device,
    has_checkpoint,
    saved_config,
    train,
)

_log = logging.getLogger(__name__)

PRETRAINED_RATE, LORA_RATE = 1e-4, 5e-4
"""Peak learning rate of a language model's own weights, and of the matrices that LoRA adds to them."""
POOL = "pool"
"""The folder where inputs that were run are kept for a run that is resumed, until that has ended."""
COPIED_BELOW = 10**9
"""Bytes of weights below which a probed model is copied into the study, so that the folder is all there is to it."""


@dataclass(frozen=True)
class Target:
    """What a decoder is to be trained for."""

    recipe: str
    task: str
    model: str | Path | None
    convention: str
    sites: tuple[str, ...] | None
    """Names as they were given, kinds and layers among them; None: the default ones of the model."""
    criterion: Criterion
    fingerprint: str | None = None
    """Of the model, where it is known which one it must be."""
    study: Path | None = None
    """The study whose task it is, where there is one."""
    loading: Mapping[str, str] = field(default_factory=dict)
    """How the model is found and loaded beside its name: `dtype`, `revision`, `base`, `begin`."""
    begun_with: Mapping[str, str] = field(default_factory=dict)
    """The same of the model that a run began with, of which the study has a copy that is as it was loaded."""
    or_raw: bool = False
    """Whether activations are read raw where the convention, which nobody asked for, is not derived for the model."""
    live: tuple[ProbedModel, Task] | None = None
    """The model and the task themselves, where they need not be found by their names."""


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
    from transformers import GPT2Config, GPT2LMHeadModel

    clock, out, budget = Clock(), Path(out), budget or Budget()
    plan = probed_recipe(recipe)(budget, seed or 0)
    config = _config(plan.training, out, budget, seed, resume=resume)
    with _claimed(out, resume=resume):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = GPT2LMHeadModel(GPT2Config(**plan.model))
        nn.Module.to(model, default_device())
        task = get_task(plan.task) if plan.make_task is None else plan.make_task()
        objective = ProbedObjective(model, task, config.seed, plan.all_tokens)
        result = train(objective, config, out / TRAINING, resume=resume, logger=logger, clock=clock)
        if result.interrupted or not _is_first_process():
            return result, None
        probed = ProbedModel(model, getattr(task, "tokenizer", None), convention=plan.convention)
        _write_probed(out, plan, probed, task)
    return result, held_out_accuracy(probed, objective.task)


def _write_probed(out: Path, plan: ProbedRecipe, probed: ProbedModel, task: Task) -> None:
    """The study of a model that was trained, which has no decoder yet."""
    reading = plan.reading or plan.task
    read = decoder_recipe(reading)(Budget(), 0)
    limit = 1.0 if isinstance(read.epsilon, str) else read.epsilon  # a rule is measured when a decoder is trained
    parts = LiveParts(out.resolve().name, probed, task, None, Criterion.parse(limit, read.metric),
                      _chosen_sites(read, probed, task), read.read)  # fmt: skip
    with filled(out, on_disk.FILE) as part:
        keep_model(probed, part / PROBED)
        keep_task(task, part)
        on_disk.write_description(part, describe(parts, name=parts.name, recipe=_other(reading, task)))


def train_decoder(
    source: str | Path | Study,
    out: str | Path,
    *,
    recipe: str | None = None,
    model: str | Path | None = None,
    convention: str | None = None,
    sites: Sequence[str] | None = None,
    layers: Layers | None = None,
    task_source: TaskSource | None = None,
    epsilon: float | str | None = None,
    pretrained: Pretrained | None = None,
    bank: str | Path | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    base: str | None = None,
    begin: str | None = None,
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    budget: Budget | None = None,
    seed: int | None = None,
    resume: bool = False,
    logger: Logger | None = None,
) -> TrainingResult:
    """Train a decoder, into a study in the folder `out`, for a study or what a recipe's or folder's name stands for.

    `recipe`, `model` (a path, a study's folder or the hub's name), `convention`, `sites` and `epsilon` replace the
    source's; `dtype`, `revision`, `base` and `begin` say how the model is loaded, as `ProbedModel.from_pretrained`
    has it; `layers`, `all` or `upper`, is for a recipe that chooses heads; `task_source` says what a task is to be
    made of, for a recipe that makes one; `pretrained` is a language model that the decoder is to be made of;
    `device_map` spreads the probed model over several devices, the decoder lying on the first. With `resume` a run
    goes on as it was started, and whatever is given again must be the same, but for `device` and `device_map`.
    Raises `UserError` for an unknown source, a model that does not fit the task, and as `training.train` does.
    """
    clock, out, budget = Clock(), Path(out), budget or Budget()
    if resume and not (out / on_disk.FILE).is_file():
        raise UserError(f"there is no run in {out} to resume; start it without resuming")
    loading = {"dtype": dtype, "revision": revision, "base": base, "begin": begin}
    given = {name: value for name, value in loading.items() if value is not None}
    target = _with(_target(out if resume else source), model, convention, sites, given, resume=resume)
    if isinstance(source, Study) and source.folder is None:
        target = dataclasses.replace(target, live=(source.probed, source.task))
    if not resume:
        target = dataclasses.replace(target, criterion=target.criterion.but(epsilon), recipe=recipe or target.recipe)
        check_of_study(target.criterion)
    plan = decoder_recipe(target.recipe)(budget, seed or 0)
    if layers is not None and (resume or plan.choose_sites is None or target.sites is not None):
        raise UserError("--layers says of which layers a new run chooses its heads: for recipe facts, without --sites")
    pretrained = _pretrained(pretrained, out, resume=resume)
    folder = _bank(bank, out, resume=resume)
    config = _config(_gentle(plan.training, pretrained), out, budget, seed, resume=resume)
    with _claimed(out, resume=resume):
        probed, task = _made(target, plan, task_source, Loading(device=device, device_map=device_map))
        check_fits(probed, task)
        if pretrained is not None and pretrained.source == SELF:
            check_self_decoder(probed, task, pretrained.lora_rank)
        parts = _resumed(out, probed, task) if resume else _parts(out, target, plan, probed, task, layers)
        if not resume:
            parts = _measured(parts, may_leave_out=target.sites is None)
        names = [probed.site(site) for site in parts.sites]
        places = None if parts.read == ANYWHERE else make_places(parts.read, probed, task, names)
        made = make_decoder(probed, task, names, seed=config.seed, places=places, pretrained=pretrained, **plan.decoder)
        decoder = made.to(probed.device)
        if not resume and _is_first_process():
            _write(out, target, parts, pretrained, folder)
        data = dataclasses.replace(plan.data, seed=config.seed)
        rates = _Rates(parts, plan.rate_queries, places)
        begun_with = None if folder is None else load_bank(folder, probed, task)
        objective = DecoderObjective(decoder, probed, task, data, rates, parts.read, out / POOL, begun_with)
        if not resume:
            objective.pool.begin()
        result = train(objective, config, out / TRAINING, resume=resume, logger=logger, clock=clock)
        if not result.interrupted and _is_first_process():
            save_decoder(decoder, out / DECODER)
            shutil.rmtree(out / POOL, ignore_errors=True)
            described = on_disk.read_description(out)
            on_disk.write_description(out, dataclasses.replace(described, decoder=DECODER))
    return result


def _parts(
    out: Path, target: Target, plan: DecoderRecipe, probed: ProbedModel, task: Task, layers: Layers | None
) -> LiveParts:
    chosen = None if target.sites is None else tuple(map(str, probed.select_sites(target.sites)))
    sites = chosen or _chosen_sites(plan, probed, task, layers)
    return LiveParts(out.resolve().name, probed, task, None, target.criterion, sites, plan.read)


def _measured(parts: LiveParts, *, may_leave_out: bool) -> LiveParts:
    """The study with an ε for each site; sites that nobody asked for and that have none are left out, which is said."""
    probed, task, sites = parts.probed, parts.task, parts.sites
    criterion = site_epsilons(parts.criterion, sites, probed=probed, task=task, skip=may_leave_out)
    if isinstance(criterion.epsilon, SiteEpsilons):
        sites = tuple(site for site in sites if site in criterion.epsilon.by_site)
    if left_out := [site for site in parts.sites if site not in sites]:
        _log.warning(
            "no decoder is trained for %s: unrelated inputs often have the very same activation there, so %s is out of "
            "reach", ", ".join(left_out), criterion.epsilon,
        )  # fmt: skip
    return dataclasses.replace(parts, criterion=criterion, chosen=sites)


def _resumed(out: Path, probed: ProbedModel, task: Task) -> LiveParts:
    described = on_disk.read_description(out)
    criterion = criterion_of(described)
    return LiveParts(described.name, probed, task, None, criterion, described.sites, described.read)


def _write(out: Path, target: Target, parts: LiveParts, pretrained: Pretrained | None, bank: Path | None) -> None:
    """The study before its decoder is trained."""
    from_, rank = (pretrained.source, pretrained.lora_rank) if pretrained is not None else ("", 0)
    kept = _elsewhere(parts.probed, target.model)
    with filled(out, on_disk.FILE) as part:
        if kept is None:
            keep_model(parts.probed, part / PROBED)
        keep_task(parts.task, part)
        described = describe(
            parts, name=parts.name, probed=kept or PROBED, recipe=_other(target.recipe, parts.task),
            decoder_from=from_, lora_rank=rank, bank=str(bank or ""), **_recorded(target.loading),
        )  # fmt: skip
        on_disk.write_description(part, described)


def _recorded(loading: Mapping[str, str]) -> dict[str, Any]:
    """How the model was loaded, as a study keeps it."""
    rest = {name: value for name, value in loading.items() if name != "dtype"}
    return {"dtype": loading.get("dtype", ""), "loading": rest}


def _other(recipe: str, task: Task) -> str:
    """The recipe as a study keeps it: empty where it has the task's name."""
    return "" if recipe == task.name else recipe


def default_sites(probed: ProbedModel, kinds: Sequence[str]) -> tuple[str, ...]:
    """The first residual stream, then the sites of these kinds in each layer."""
    return tuple(str(site) for site in probed.sites if site.kind in kinds or site == Site("resid_pre", 0))


@dataclass(frozen=True)
class _Rates:
    """The in-ε rate at each site and position, on training inputs: it steers the training, and nothing held out may."""

    parts: LiveParts
    n: int
    places: Places | None

    def __call__(self, decoder: Decoder) -> CellHits:
        rates = in_epsilon(
            decoder,
            self.parts.probed,
            self.parts.task,
            self.n,
            criterion=self.parts.criterion,
            generator=torch.Generator().manual_seed(0),
            floor=False,
            split="train",
            places=self.places,
        )
        hits = torch.zeros(len(decoder.config.sites), self.parts.task.max_length)
        drawn = torch.zeros_like(hits)
        positions = torch.from_numpy(rates.positions)
        inside = torch.from_numpy(rates.samples.any)
        return CellHits(
            hits.scatter_add(1, positions, inside.float()),
            drawn.scatter_add(1, positions, torch.ones_like(inside.float())),
        )


def _target(source: str | Path | Study) -> Target:
    if isinstance(source, Study) and source.folder is not None:
        source = source.folder
    if isinstance(source, Study):
        parts, name = source.parts, source.task.name
        return Target(
            name if name in DECODER_RECIPES else "text", name, None, parts.probed.convention,
            parts.sites, parts.criterion, parts.probed.fingerprint,
        )  # fmt: skip
    if isinstance(source, str) and source in DECODER_RECIPES:
        recipe = DECODER_RECIPES[source](Budget(), 0)
        model, usual = on_disk.bundled_studies().get(source), Criterion.parse(recipe.epsilon, recipe.metric)
        return Target(source, recipe.task, model, recipe.convention, None, usual, study=model)
    try:
        folder = find_study(source)
    except UserError as error:
        recipes = ", ".join(DECODER_RECIPES)
        raise UserError(f"{error}; the recipes are: {recipes}") from error
    study = on_disk.read_description(folder)
    dtype = {"dtype": study.dtype} if study.dtype else {}
    loading = dtype if study.probed == PROBED else {**study.loading, **dtype}
    return Target(
        study.recipe or study.task, study.task, folder, study.convention, study.sites,
        Criterion.parse(study.epsilon_rule or study.epsilon, study.metric), study.fingerprint, folder, loading,
        {**study.loading, **dtype},
    )  # fmt: skip


def _with(
    target: Target,
    model: str | Path | None,
    convention: str | None,
    sites: Sequence[str] | None,
    loading: Mapping[str, str],
    *,
    resume: bool,
) -> Target:
    """The target with what was asked for in its place; when resuming, that must be what is there already."""
    if not resume:
        if model is not None:
            target = dataclasses.replace(target, model=model, sites=None, fingerprint=None, loading={})
        if not loading.items() <= target.loading.items():
            target = dataclasses.replace(target, loading={**target.loading, **loading}, fingerprint=None)
        if target.model is None and target.fingerprint is None:
            raise UserError(f"there is no bundled model for {target.recipe} here: give one with --model")
        return dataclasses.replace(
            target, convention=convention or target.convention, sites=tuple(sites or ()) or target.sites,
            or_raw=convention is None,
        )  # fmt: skip
    begun_with = [Site.named(site) for site in target.sites or ()]
    names = None if sites is None else tuple(map(str, select(sites, begun_with, Site.parse)))
    for what, given, there in (
        ("convention", convention, target.convention),
        ("sites", names, target.sites),
        *((name, value, target.begun_with.get(name)) for name, value in loading.items()),
    ):
        if given is not None and given != there:
            raise UserError(f"the run was started with {what} {_listed(there or 'as saved')}, not {_listed(given)}")
    return target if model is None else dataclasses.replace(target, model=model)


def _made(target: Target, plan: DecoderRecipe, source: TaskSource | None, where: Loading) -> tuple[ProbedModel, Task]:
    """The model, and the task: the study's, or where there is none, or texts are given, one made by the recipe."""
    if target.live is not None:
        _check_is(target, target.live[0], "memory")
        return target.live
    assert target.model is not None
    if where != AS_USUAL and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        what = "device" if where.device_map is None else "device_map"
        raise UserError(f"each of several processes has one device of its own: give a {what} to a single process")
    model = _model_of(target.model)
    how = dataclasses.replace(Loading(device=default_device()) if where == AS_USUAL else where, **target.loading)
    asked = None if target.or_raw else target.convention
    with doing(f"loading the model {Path(model).name}"):
        probed = load_probed(model, how, convention=asked, usual=target.convention)
    _check_is(target, probed, model)
    if target.sites is not None:
        probed.select_sites(target.sites)  # before texts are read or written, which takes longer
    if target.study is None or source is not None:
        task = task_of(plan, target.task, probed, source)
    else:
        task = get_task(target.task, target.study / TASK, lambda: probed)
    say_begin(probed, task, how)
    return probed, task


def _check_is(target: Target, probed: ProbedModel, source: str | Path) -> None:
    if target.fingerprint not in (None, probed.fingerprint):
        raise UserError(
            f"the model in {source} is another one than the run was started with: its fingerprint is "
            f"{probed.fingerprint[:12]}, not {str(target.fingerprint)[:12]}"
        )


def _model_of(source: str | Path) -> str | Path:
    """The model itself, where a study's folder stands for it."""
    folder = Path(source)
    return model_of(folder, on_disk.read_description(folder)) if (folder / on_disk.FILE).is_file() else source


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


def _pretrained(given: Pretrained | None, out: Path, *, resume: bool) -> Pretrained | None:
    """The language model that the decoder is made of, its folder as an absolute path; when resuming, as it was."""
    if given is not None and given.source != SELF and Path(given.source).expanduser().is_dir():
        given = dataclasses.replace(given, source=str(Path(given.source).expanduser().resolve()))
    if not resume:
        if given is not None and given.source != SELF:
            place_of(given.source)  # refused before anything is loaded, where it is not there
        return given
    study = on_disk.read_description(out)
    there = Pretrained(study.decoder_from, study.lora_rank) if study.decoder_from else None
    if given not in (None, there):
        raise UserError(f"the run was started with a decoder {_made_of(there)}, not {_made_of(given)}")
    return there


def _bank(given: str | Path | None, out: Path, *, resume: bool) -> Path | None:
    """The folder of the bank that the training begins with; when resuming, the one that it began with."""
    asked = None if given is None else Path(given).expanduser().resolve()
    if not resume:
        return asked
    there = on_disk.read_description(out).bank
    if asked is not None and str(asked) != there:
        raise UserError(f"the run was started with {f'the bank {there}' if there else 'no bank'}, not with {asked}")
    if there and not (Path(there) / INDEX).is_file():
        raise UserError(f"the bank {there}, with which the run was started, is gone: put it back, and resume again")
    return Path(there) if there else None


def _made_of(pretrained: Pretrained | None) -> str:
    if pretrained is None:
        return "of its own layers"
    lora = f" and LoRA of rank {pretrained.lora_rank}" if pretrained.lora_rank else ""
    return f"from {pretrained.source}{lora}"


def _gentle(config: TrainingConfig, pretrained: Pretrained | None) -> TrainingConfig:
    """The config with a learning rate at which pretrained weights keep what they know; new matrices keep their own."""
    if pretrained is None:
        return config
    return dataclasses.replace(config, learning_rate=LORA_RATE if pretrained.lora_rank else PRETRAINED_RATE)


@contextmanager
def _claimed(out: Path, *, resume: bool) -> Iterator[None]:
    """The folder of a run, from before anything takes long; where nothing comes of the run that can be resumed, it is
    left as it was.
    """
    if not _is_first_process():
        yield
        return
    with claimed(out, resume=resume):
        try:
            yield
        except BaseException:
            if not resume and not has_checkpoint(out / TRAINING):
                for name in (PROBED, TASK, TRAINING, POOL):
                    shutil.rmtree(out / name, ignore_errors=True)
                (out / on_disk.FILE).unlink(missing_ok=True)
            raise


def _chosen_sites(
    plan: DecoderRecipe, probed: ProbedModel, task: Task, layers: Layers | None = None
) -> tuple[str, ...]:
    if plan.choose_sites is None:
        return default_sites(probed, plan.kinds)
    return plan.choose_sites(probed, task) if layers is None else plan.choose_sites(probed, task, layers)


def _elsewhere(probed: ProbedModel, source: str | Path | None) -> str | None:
    """The path or name by which a model is found again that is too large to be copied; None for one to be copied."""
    size = sum(p.numel() * p.element_size() for p in probed.model.parameters())
    if source is None or size < COPIED_BELOW:
        return None
    source = _model_of(source)
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else str(source)


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _listed(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
