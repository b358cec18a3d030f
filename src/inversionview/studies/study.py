"""A study: a probed model, its task and its decoder, in a folder that holds all that reading an activation takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch

from inversionview.decoder.loading import load_decoder
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.preimage.distance import checked_metric
from inversionview.preimage.matching import checked_rule
from inversionview.preimage.proposals import ladder
from inversionview.preimage.result import Preimage, Query, checked_epsilon
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.probed.model import ProbedModel
from inversionview.reading.attribution import BASELINE, token_colors
from inversionview.sites import Site
from inversionview.studies.description import DECODER, StudyDescription, find_study, read_description
from inversionview.studies.evaluate import evaluation
from inversionview.studies.query import checked_site, make_query
from inversionview.tasks import Task, get_task


def load_study(name_or_path: str | Path, *, device: str | torch.device | None = None) -> Study:
    """Open a study that comes with the package, by its name, or one in a folder.

    Models are loaded when first needed; `device`: without it, the GPU if there is one.
    Raises `UserError` when there is no such study, or its description is damaged.
    """
    folder = find_study(name_or_path)
    return Study(folder, read_description(folder), device=device)


class Study:
    """Reads activations of one probed model; see `load_study`."""

    def __init__(
        self, folder: Path, description: StudyDescription, *, device: str | torch.device | None = None
    ) -> None:
        self.folder = folder
        self.description = description
        self._device = device

    def __repr__(self) -> str:
        return f"<Study {self.name}: {len(self.sites)} sites, task {self.description.task}, in {self.folder}>"

    @property
    def name(self) -> str:
        """What results call this study."""
        return self.description.name

    @property
    def sites(self) -> tuple[str, ...]:
        """Short names of the sites that can be read."""
        return self.description.sites

    @cached_property
    def task(self) -> Task:
        """The domain of the inputs."""
        return get_task(self.description.task)

    @cached_property
    def probed(self) -> ProbedModel:
        """The model that is read. Raises `UserError` when it is not there, damaged, or not the one of this study."""
        beside = self.folder / self.description.probed
        source = beside if beside.is_dir() else self.description.probed
        probed = ProbedModel.from_pretrained(source, convention=self.description.convention, device=self._device)
        if probed.fingerprint != self.description.fingerprint:
            raise UserError(
                f"the probed model in {source} is not the one of study {self.name}: its fingerprint is "
                f"{probed.fingerprint[:12]}, not {self.description.fingerprint[:12]}"
            )
        return probed

    @cached_property
    def decoder(self) -> Decoder:
        """The decoder. Raises `UserError` when there is none, it is damaged, or is of another probed model."""
        if self.description.decoder is None:
            raise UserError(
                f"study {self.name} has no decoder yet: train one with `inversionview train {self.folder} --out FOLDER`"
            )
        decoder = load_decoder(self.folder / DECODER, self.probed)
        if decoder.config.sites != self.sites:
            raise UserError(f"the decoder in {self.folder} was trained on sites {', '.join(decoder.config.sites)}")
        return decoder

    def query(self, text: str, at: str | int | None = None, site: str | Site | None = None) -> Query:
        """An activation to read: of an input as one types it, at a named position or an index, and a site.

        Without `at`, the last eligible position. Raises `UserError` that says which positions and sites there are.
        """
        return make_query(self.name, self.task, self.sites, text, at, site)

    @overload
    def preimage(
        self, query: Query, n: int = ..., *, epsilon: float | None = ..., metric: str | None = ...,
        position_rule: str = ..., seed: int = ..., temperatures: Sequence[float] = ..., noise: Sequence[float] = ...,
        colors: bool = ...,
    ) -> Preimage: ...  # fmt: skip

    @overload
    def preimage(
        self, query: Sequence[Query], n: int = ..., *, epsilon: float | None = ..., metric: str | None = ...,
        position_rule: str = ..., seed: int = ..., temperatures: Sequence[float] = ..., noise: Sequence[float] = ...,
        colors: bool = ...,
    ) -> list[Preimage]: ...  # fmt: skip

    def preimage(
        self,
        query: Query | Sequence[Query],
        n: int = 1000,
        *,
        epsilon: float | None = None,
        metric: str | None = None,
        position_rule: str = "same",
        seed: int = 0,
        temperatures: Sequence[float] = (1.0,),
        noise: Sequence[float] = (0.0,),
        colors: bool = True,
    ) -> Preimage | list[Preimage]:
        """Draw `n` inputs a query from the decoder and verify each; for a list of queries, a list of preimages.

        `epsilon` and `metric` are the study's own by default. With several `temperatures` or `noise` levels, the draws
        are shared evenly among their pairs. `colors` costs two passes of the decoder over what was drawn. What is found
        for a query does not depend on the queries beside it.
        Raises `UserError` for settings that cannot be, or a query activation of norm 0.
        """
        queries = [query] if isinstance(query, Query) else list(query)
        epsilon = checked_epsilon(self.description.epsilon if epsilon is None else epsilon)
        metric, rule = checked_metric(metric or self.description.metric), checked_rule(position_rule)
        for asked in queries:
            checked_site(self.name, self.sites, asked.site)
        found = sampled_preimages(
            self.probed,
            self.task,
            queries,
            ladder(self.decoder, n, temperatures, noise),
            epsilon=epsilon,
            metric=metric,
            position_rule=rule,
            seed=seed,
        )
        if colors:
            found = self._colored(found)
        return found[0] if isinstance(query, Query) else found

    def _colored(self, found: Sequence[Preimage]) -> list[Preimage]:
        if not found:
            return []
        activations = query_activations(self.probed, self.task, [preimage.query for preimage in found])
        colored = []
        for preimage, z_q in zip(found, activations, strict=True):
            tokens = torch.from_numpy(preimage.tokens)
            colors = token_colors(self.decoder, self.probed, self.task, tokens, preimage.query.site, z_q)
            colored.append(dataclasses.replace(preimage, colors=colors.double().numpy(), colors_about=BASELINE))
        return colored

    def evaluate(self, n: int = 2000, *, seed: int = 0) -> dict[str, Any]:
        """Measure the in-ε rate of decoder samples at every site beside its floor, and the probed model's accuracy.

        `n` held-out inputs a site, one sample each at temperature 1; the floor is what random inputs of the domain get.
        Gives the document that `inversionview evaluate --json` prints. Raises `UserError` for n < 1.
        """
        return evaluation(
            self.name,
            self.decoder,
            self.probed,
            self.task,
            n,
            epsilon=self.description.epsilon,
            metric=self.description.metric,
            seed=seed,
        )
