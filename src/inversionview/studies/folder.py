"""A study on disk: its parts, each loaded when it is first used, and how they are written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from inversionview.criterion import Criterion, EpsilonRule, SiteEpsilons, checked_metric
from inversionview.decoder.loading import load_decoder, save_decoder
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.files import atomic_folder
from inversionview.probed.gguf import as_plain
from inversionview.probed.loading import AS_USUAL, Loading
from inversionview.probed.model import ProbedModel
from inversionview.probed.parts import uncompiled_name
from inversionview.probed.quiet import quietly
from inversionview.progress import doing
from inversionview.sites import VIEW, Site
from inversionview.studies.description import (
    DECODER,
    EXPLANATIONS,
    MAP,
    PROBED,
    TASK,
    StudyDescription,
    read_description,
    write_description,
)
from inversionview.studies.finding import find_study
from inversionview.studies.models import check_loads, load_probed, say_begin
from inversionview.studies.parts import LiveParts, Parts
from inversionview.tasks import TASKS, Configured, Task, get_task

DeviceMap = str | dict[str, Any]


@dataclass(frozen=True)
class FolderParts:
    """The parts of a study in a folder. Each raises `UserError` when it is not there, damaged, or of another study."""

    folder: Path
    description: StudyDescription
    device: str | torch.device | None = None
    device_map: DeviceMap | None = None

    @property
    def name(self) -> str:
        """What results call the study."""
        return self.description.name

    @property
    def sites(self) -> tuple[str, ...]:
        """Short names of the sites that can be read."""
        return self.description.sites

    @property
    def read(self) -> str:
        """Which activations the decoder is trained on and measured by."""
        return self.description.read

    @property
    def has_decoder(self) -> bool:
        """Whether there is a decoder."""
        return self.description.decoder is not None

    @property
    def loaded(self) -> bool:
        """Whether the probed model was needed by now."""
        return "probed" in vars(self)

    @property
    def fingerprint(self) -> str:
        """Of the probed model that it must be."""
        return self.description.fingerprint

    @property
    def criterion(self) -> Criterion:
        """What makes an input a member, where nothing else is asked for."""
        return criterion_of(self.description)

    @cached_property
    def task(self) -> Task:
        """The domain of the inputs."""
        with doing(f"preparing the inputs of {self.name}"):
            return get_task(self.description.task, self.folder / TASK, lambda: self.probed)

    @cached_property
    def probed(self) -> ProbedModel:
        """The model that is read."""
        source = model_of(self.folder, self.description)
        described = self.description
        beside = described.probed == PROBED  # a copy is as it was loaded
        how = Loading(dtype=described.dtype or None, **({} if beside else described.loading))
        with doing(f"loading the model of {self.name}"):
            probed = load_probed(
                source, self.on_device(how), convention=described.convention, usual="raw", own_copy=beside
            )
        if probed.fingerprint != described.fingerprint:
            raise UserError(
                f"the probed model in {source} is not the one of study {self.name}: its fingerprint is "
                f"{probed.fingerprint[:12]}, not {described.fingerprint[:12]}"
            )
        return probed

    @cached_property
    def decoder(self) -> Decoder | None:
        """The decoder; None where none is trained yet."""
        if not self.has_decoder:
            return None
        probed, task = self.probed, self.task
        with doing(f"loading the decoder of {self.name}"):
            decoder = load_decoder(self.folder / DECODER, probed, task)
        if decoder.config.sites != self.sites:
            raise UserError(f"the decoder in {self.folder} was trained on sites {', '.join(decoder.config.sites)}")
        return decoder

    def on_device(self, how: Loading) -> Loading:
        """The same, on the device of this study where it says none."""
        if how.device is not None or how.device_map is not None:
            return how
        return replace(how, device=self.device, device_map=self.device_map)


def model_of(folder: Path, description: StudyDescription) -> str | Path:
    """Where a study's model is: in its folder, or by its path or name."""
    beside = folder / description.probed
    return beside if beside.is_dir() else description.probed


def criterion_of(description: StudyDescription) -> Criterion:
    """What a study's description says that makes an input a member."""
    epsilon: EpsilonRule | SiteEpsilons = EpsilonRule("constant", description.epsilon)
    if description.epsilons:
        by_site = {site: description.epsilon_at(site) for site in description.sites}
        epsilon = SiteEpsilons(by_site, description.epsilon_rule)
    return Criterion(checked_metric(description.metric), "same", epsilon)


def open_folder(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    device_map: DeviceMap | None = None,
    revision: str | None = None,
) -> FolderParts:
    """The parts of a study in a folder, bundled, or on the hub. Raises `UserError` as `find_study` does."""
    folder = find_study(name_or_path, revision)
    return FolderParts(folder, read_description(folder), device, device_map)


def with_model(
    parts: Parts, model: str | Path | ProbedModel, convention: str | None = None, how: Loading = AS_USUAL
) -> LiveParts:
    """The same task and sites with another probed model, and no decoder; see `Study.with_model`."""
    check_loads(model, how)
    if isinstance(model, ProbedModel):
        probed, name = model, type(model.model).__name__
    else:
        if isinstance(parts, FolderParts):
            how, usual = parts.on_device(how), parts.description.convention
        else:
            usual = parts.probed.convention
        probed, name = load_probed(model, how, convention=convention, usual=usual), Path(model).name
    folder = parts.folder if isinstance(parts, FolderParts) else None
    task = parts.task if folder is None else get_task(parts.task.kind, folder / TASK, lambda: probed)
    if probed is not model:
        say_begin(probed, task, how)
    missing = [site for site in parts.sites if probed.find_site(site) is None]
    if missing:
        raise UserError(f"the model {model} has no site {missing[0]}, which study {parts.name} reads")
    return LiveParts(name, probed, task, None, parts.criterion, parts.sites, parts.read)


def save_parts(parts: Parts, folder: str | Path, *, half: bool = False, by_name: bool = False) -> None:
    """Write a study into a new folder, whole or not at all: models in safetensors, `study.json`, and its map.

    With `half`, the decoder's weights as 16-bit numbers. With `by_name`, a probed model that the study names on the hub
    is named there too, and not copied.

    Raises `UserError` where there is something already, nothing can be written, ε is still to be measured, or the task
    is not registered by its name.
    """
    if view := next((site for site in parts.sites if Site.named(site).kind == VIEW), None):
        raise UserError(f"the view {view} is of this session: a study that is kept reads the model's own sites")
    TASKS.find(parts.task.kind)  # or nobody could open it again
    named = by_name and named_model(parts) is not None
    described = _description(parts, named=named)
    with atomic_folder(folder, new=True) as part:
        if not named:
            keep_model(parts.probed, part / PROBED)
        keep_task(parts.task, part)
        if parts.decoder is not None:
            save_decoder(parts.decoder, part / DECODER, half=half)
        for kept in (MAP, EXPLANATIONS):
            if parts.folder is not None and (parts.folder / kept).is_file():
                shutil.copyfile(parts.folder / kept, part / kept)
        write_description(part, described)


def named_model(parts: Parts) -> str | None:
    """The hub's name of a study's model, where the study has no copy of it."""
    if not isinstance(parts, FolderParts):
        return None
    model = model_of(parts.folder, parts.description)
    return None if isinstance(model, Path) or Path(model).expanduser().exists() else model


def _description(parts: Parts, *, named: bool) -> StudyDescription:
    """What is written of a study that is saved: all that is said of it already, where it lies on disk."""
    if not isinstance(parts, FolderParts):
        return describe(parts, name=parts.name)
    return parts.description if named else replace(parts.description, probed=PROBED, loading={})


def describe(parts: Parts, *, name: str, probed: str = PROBED, **more: Any) -> StudyDescription:
    """What `study.json` says of these parts, with `more` of its fields; `probed` says where the model is."""
    epsilon = parts.criterion.epsilon
    own = epsilon if isinstance(epsilon, SiteEpsilons) else None
    limit = parts.criterion.largest
    if limit is None:
        raise UserError(f"epsilon {epsilon} is measured for each reading: a study that is kept takes a number")
    return StudyDescription(
        name=name,
        task=parts.task.kind,
        about=parts.task.about,
        convention=parts.probed.convention,
        sites=parts.sites,
        metric=parts.criterion.metric,
        epsilon=limit,
        epsilons={} if own is None else dict(own.by_site),
        epsilon_rule="" if own is None else own.rule,
        probed=probed,
        fingerprint=parts.probed.fingerprint,
        decoder=DECODER if parts.has_decoder else None,
        read=parts.read,
        **more,
    )


def keep_model(probed: ProbedModel, folder: Path) -> None:
    """Write a model and its tokenizer."""
    with as_plain(probed.model):
        state = {uncompiled_name(name): tensor for name, tensor in probed.model.state_dict().items()}
        quietly(probed.model.save_pretrained, folder, state_dict=state)
    if probed.tokenizer is not None:
        probed.tokenizer.save_pretrained(folder)


def keep_task(task: Task, folder: Path) -> None:
    """Write what a task is made of beside its name, where it is more than that."""
    if isinstance(task, Configured):
        with atomic_folder(folder / TASK) as part:
            task.save(part)
