"""A study: a probed model, its task and its decoder, in a folder that holds all that reading an activation takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from jaxtyping import Float

from inversionview.causal.effects import PatchEffects
from inversionview.causal.use_result import Use
from inversionview.criterion import EpsilonRule, Metric, PositionRule, checked_metric, checked_rule, parse_epsilon
from inversionview.decoder.loading import load_decoder
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable, uniform_log_prior
from inversionview.preimage.epsilon.calibration import Epsilon, epsilons_of
from inversionview.preimage.epsilon.curve import GRID, epsilon_curve
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.index import IndexedDomain, ensure_index
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.proposals import mixture
from inversionview.probed.model import ProbedModel
from inversionview.progress import Progress, stage, told
from inversionview.reading.attribution import BASELINE, token_colors
from inversionview.reading.columns import with_features
from inversionview.reading.comparison import compare
from inversionview.reading.information import preimage_bits
from inversionview.results.evaluation import Comparison, Evaluation, Validation
from inversionview.results.hypotheses import HypothesisTest
from inversionview.results.map import Map
from inversionview.results.preimage import Preimage, Query
from inversionview.sites import Site
from inversionview.studies.description import DECODER, TASK, StudyDescription, find_study, read_description
from inversionview.studies.sources import make_sources
from inversionview.studies.verbs.evaluate import evaluation
from inversionview.studies.verbs.map import OwnEpsilons, make_map
from inversionview.studies.verbs.query import checked_site, make_query
from inversionview.studies.verbs.validate import validate
from inversionview.tasks import Task, get_task
from inversionview.tasks.base import Restrictable, restricted


def load_study(
    name_or_path: str | Path,
    *,
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
) -> Study:
    """Open a study that comes with the package, by its name, or one in a folder.

    Models are loaded when first needed; `device`: without it, the GPU if there is one; `device_map`, in its place,
    spreads the probed model over several (`auto`). Raises `UserError` when there is no such study, or its description
    is damaged.
    """
    folder = find_study(name_or_path)
    return Study(folder, read_description(folder), device=device, device_map=device_map)


class _Exact(NamedTuple):
    """How an exact preimage was asked for."""

    epsilon: float | str | None
    metric: str | None
    position_rule: str
    seed: int
    curve: bool


class _Settings(NamedTuple):
    """What a reading was asked for, checked."""

    queries: list[Query]
    epsilons: list[Epsilon]
    metric: Metric
    position_rule: PositionRule


class Study:
    """Reads activations of one probed model; see `load_study`."""

    def __init__(
        self,
        folder: Path,
        description: StudyDescription,
        *,
        device: str | torch.device | None = None,
        device_map: str | dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.description = description
        self._where: dict[str, Any] = {"device": device, "device_map": device_map}
        self._indexes: dict[Path, IndexedDomain] = {}

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
        return get_task(self.description.task, self.folder / TASK, lambda: self.probed)

    @cached_property
    def probed(self) -> ProbedModel:
        """The model that is read. Raises `UserError` when it is not there, damaged, or not the one of this study."""
        beside = self.folder / self.description.probed
        source = beside if beside.is_dir() else self.description.probed
        described = self.description
        probed = ProbedModel.from_pretrained(
            source, convention=described.convention, dtype=described.dtype or None, **self._where
        )
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
        decoder = load_decoder(self.folder / DECODER, self.probed, self.task)
        if decoder.config.sites != self.sites:
            raise UserError(f"the decoder in {self.folder} was trained on sites {', '.join(decoder.config.sites)}")
        return decoder

    def with_model(self, model: str | Path, *, convention: str | None = None) -> Study:
        """The same task and sites with another probed model, and no decoder: for what is exact.

        `model` is a folder or the hub's name of one; `convention` is this study's by default. Raises `UserError` when
        there is no such model, or it lacks one of the sites.
        """
        convention = convention or self.description.convention
        probed = ProbedModel.from_pretrained(model, convention=convention, **self._where)
        missing = [site for site in self.sites if Site.parse(site) not in probed.sites]
        if missing:
            raise UserError(f"the model {model} has no site {missing[0]}, which study {self.name} reads")
        description = dataclasses.replace(
            self.description,
            name=Path(model).name,
            convention=convention,
            probed=str(model),
            fingerprint=probed.fingerprint,
            decoder=None,
            dtype="",
        )
        other = Study(self.folder, description, **self._where)
        other.__dict__["probed"] = probed  # what the cached property would load again
        return other

    def query(self, text: str, at: str | int | None = None, site: str | Site | None = None) -> Query:
        """An activation to read: of an input as one types it, at a named position or an index, and a site.

        Without `at`, the last eligible position. Raises `UserError` that says which positions and sites there are.
        """
        return make_query(self.name, self.task, self.sites, text, at, site)

    @overload
    def preimage(
        self, query: Query, n: int = ..., *, epsilon: float | str | None = ..., metric: str | None = ...,
        position_rule: str = ..., seed: int = ..., temperatures: Sequence[float] = ..., noise: Sequence[float] = ...,
        prior_share: float = ..., also: Sequence[str] = ..., colors: bool = ..., progress: Progress | None = ...,
    ) -> Preimage: ...  # fmt: skip

    @overload
    def preimage(
        self, query: Sequence[Query], n: int = ..., *, epsilon: float | str | None = ..., metric: str | None = ...,
        position_rule: str = ..., seed: int = ..., temperatures: Sequence[float] = ..., noise: Sequence[float] = ...,
        prior_share: float = ..., also: Sequence[str] = ..., colors: bool = ..., progress: Progress | None = ...,
    ) -> list[Preimage]: ...  # fmt: skip

    def preimage(
        self,
        query: Query | Sequence[Query],
        n: int = 1000,
        *,
        epsilon: float | str | None = None,
        metric: str | None = None,
        position_rule: str = "same",
        seed: int = 0,
        temperatures: Sequence[float] = (1.0,),
        noise: Sequence[float] = (0.0,),
        prior_share: float = 0.1,
        also: Sequence[str] = (),
        colors: bool = True,
        progress: Progress | None = None,
    ) -> Preimage | list[Preimage]:
        """Draw `n` inputs a query and verify each; for a list of queries, a list of preimages.

        A share of the draws comes from the task's prior, the others from the decoder, shared evenly among the pairs of
        `temperatures` and `noise` levels. For estimates of size and bits, several thousand draws at temperatures 1 and
        2 with a prior share of 0.4 serve best. `epsilon` and `metric` are the study's own by default; ε may also be
        `null:0.01` or `causal:0.05`. `also` names other sources, `retrieval` (nearest held-out inputs), `edits` (a walk
        inside the preimage), `cosine` (the decoder given activations at a cosine of 0.9 to 0.75 from the query's, or at
        that of `cosine:0.9`), `varied` (the decoder kept from repeating itself; `varied:0.9`, `varied:cosine` do both)
        and, where the task can, `given` (the prior given what an input shares with the query's: `given:asked` for one
        condition, `given` for all), each of which draws a quarter of `n` more. `colors` costs two
        passes of the decoder over what was drawn. What is found for a query does not depend on the queries beside it.
        `progress` is told how far it is, see `inversionview.progress`; before the colours it is given all but these.
        Raises `UserError` for settings that cannot be, or a query activation of norm 0.
        """
        with told(progress):
            asked = self._settings(query, epsilon, metric, position_rule, seed, self.decoder)
            limits = [epsilon.value for epsilon in asked.epsilons]
            sources = mixture(self.decoder, self.task, n, temperatures, noise, prior_share)
            more = [
                source for name in also
                for source in make_sources(name, self, max(1, n // 4), limits, asked.metric, asked.position_rule)
            ]  # fmt: skip
            found = sampled_preimages(
                self.probed,
                self.task,
                asked.queries,
                [*sources, *more],
                epsilon=limits,
                metric=asked.metric,
                position_rule=asked.position_rule,
                seed=seed,
            )
            found = [self.with_columns(preimage) for preimage in self._with_bits(found, asked)]
            if colors and found:
                found = self._colored(found)
        return found[0] if isinstance(query, Query) else found

    @overload
    def exact_preimage(
        self, query: Query, *, epsilon: float | str | None = ..., metric: str | None = ..., position_rule: str = ...,
        seed: int = ..., curve: bool = ..., index: str | Path | None = ..., given: str | None = ...,
    ) -> Preimage: ...  # fmt: skip

    @overload
    def exact_preimage(
        self, query: Sequence[Query], *, epsilon: float | str | None = ..., metric: str | None = ...,
        position_rule: str = ..., seed: int = ..., curve: bool = ..., index: str | Path | None = ...,
        given: str | None = ...,
    ) -> list[Preimage]: ...  # fmt: skip

    def exact_preimage(
        self,
        query: Query | Sequence[Query],
        *,
        epsilon: float | str | None = None,
        metric: str | None = None,
        position_rule: str = "same",
        seed: int = 0,
        curve: bool = False,
        index: str | Path | None = None,
        given: str | None = None,
    ) -> Preimage | list[Preimage]:
        """All inputs of the domain within ε, in one pass over it; for a list of queries, a list of preimages.

        With `index`, a folder, activations are kept there when they are first needed, some 600 MB a site for addition,
        and later queries need no model. `curve` adds what the preimage is at other ε; it takes 4 bytes an input.
        `seed` only matters for an ε such as `null:0.01`. Needs no decoder. `given`, where the domain is too large: only
        the inputs that share something with the query's, such as `counts` (its letters and counts, in every order);
        sizes and bits are then of this part of the domain.
        Raises `UserError` for a task that cannot enumerate, settings that cannot be, or a query activation of norm 0.
        """
        if given is not None:
            if index is not None:
                raise UserError("an index holds the whole domain: give either index or given")
            settings = _Exact(epsilon, metric, position_rule, seed, curve)
            queries = [query] if isinstance(query, Query) else list(query)
            parts = [self._exact_given(one, given, settings) for one in queries]
            return parts[0] if isinstance(query, Query) else parts
        checked_enumerable(self.task)
        decoder = None if self.description.decoder is None else self.decoder
        asked = self._settings(query, epsilon, metric, position_rule, seed, decoder)
        domain = None if index is None else self._indexed(asked.queries, Path(index))
        distances = np.empty((len(asked.queries), self.task.size or 0), np.float32) if curve else None
        found = exact_preimages(
            self.probed,
            self.task,
            asked.queries,
            epsilon=[epsilon.value for epsilon in asked.epsilons],
            metric=asked.metric,
            position_rule=asked.position_rule,
            domain=domain,
            into=distances,
        )
        found = self._with_bits(found, asked)
        if distances is not None:
            found = self._with_curves(found, distances)
        found = [self.with_columns(preimage) for preimage in found]
        return found[0] if isinstance(query, Query) else found

    def map(
        self,
        text: str | None = None,
        *,
        queries: int = 100,
        where: str | None = None,
        epsilon: float | str | None = None,
        metric: str | None = None,
        sites: Sequence[str] | None = None,
        seed: int = 0,
        draws: int = 200_000,
        draws_given: int = 1000,
    ) -> Map:
        """What every site knows at every named position about every feature of the task, in bits.

        The mean over `queries` random inputs a cell, of those that meet the condition `where` over the task's features,
        or with `text` of this one input. Rule `same`. Exact, in one pass over the domain, where the task can enumerate;
        elsewhere from `draws` inputs of the prior and, a query, `draws_given` for each condition that the task can draw
        given; a cell of which too few are members says nothing.
        Raises `UserError` for a task that cannot enumerate, or settings that cannot be.
        """
        names = [checked_site(self.name, self.sites, site) for site in (self.sites if sites is None else sites)]
        return make_map(
            self.name,
            self.probed,
            self.task,
            names,
            text=text,
            queries=queries,
            where=where,
            epsilon=self._map_epsilon(epsilon, names),
            metric=checked_metric(metric or self.description.metric),
            seed=seed,
            draws=draws,
            draws_given=draws_given,
        )

    def compare(self, sample: Preimage, exact: Preimage) -> Comparison:
        """What a sample reached of the exact preimage: recall, prior mass, and each feature's total variation.

        Raises `UserError` unless both are of the same query, ε, metric and rule.
        """
        return compare(sample, exact, self.task)

    def test(
        self, queries: Query | Sequence[Query], hypothesis: str | Callable[[str], Any], **settings: Any
    ) -> list[HypothesisTest]:
        """Test a hypothesis about what an activation says; see `inversionview.studies.verbs.hypotheses.run_hypothesis`.

        One query, or several sites at one position of one input. The hypothesis is a feature's name, an expression over
        features such as `F1 + S1 == 14`, or a function of the input's text. `settings`: exact, n, random_queries,
        epsilon, metric, position_rule, seed.
        """
        from inversionview.studies.verbs.hypotheses import run_hypothesis

        return run_hypothesis(self, queries, hypothesis, **settings)

    def patch(self, *, target: str | int, sites: str | Sequence[str], contrast: str, **settings: Any) -> PatchEffects:
        """Put activations of one run into another, and measure what that does to the logit difference of the answers.

        `sites`, such as `a0.0@letter,a1.0@:`, each at a position of its own or else at `at`; `target`: the token that
        is predicted; `contrast`: `change:F1,S1`, `random` or `flip`. `settings`: at, order, direction, where,
        contrast_where, n, seed; see `inversionview.studies.verbs.patch.make_patch_report`. Needs no decoder.
        Raises `UserError` for settings that cannot be, and where no pair is left.
        """
        from inversionview.studies.verbs.patch import make_patch_report

        return make_patch_report(
            self.name, self.probed, self.task, target=target, sites=sites, contrast=contrast, **settings
        )

    def causal(self, query: Query, **settings: Any) -> Use:
        """Is what the activation encodes also used? Members and non-members of its preimage are put in its place.

        Members should leave the output as it is and matched non-members should change it; for each feature, whether
        non-members that share the query's value of it keep the output better than others: used, or merely present.
        `settings`: n, exact, draws, epsilon, metric, position_rule, features, given, outputs, seed; see
        `inversionview.studies.verbs.causal.run_causal`. Raises `UserError` for settings that cannot be.
        """
        from inversionview.studies.verbs.causal import run_causal

        return run_causal(self, query, **settings)

    def with_columns(self, preimage: Preimage, names: Sequence[str] | None = None) -> Preimage:
        """The preimage with a column for each of these features beside its inputs; by default the task's own choice.

        Raises `UserError` for a feature that the task does not have.
        """
        chosen = self.task.columns if names is None else names
        return with_features(preimage, self.task, chosen) if chosen else preimage

    def _exact_given(self, query: Query, name: str, settings: _Exact) -> Preimage:
        """The exact preimage among the inputs that share something with the query's."""
        part = Study(self.folder, self.description, **self._where)
        part.__dict__.update(probed=self.probed, task=restricted(self.task, torch.tensor(query.tokens), name))
        if self.description.decoder is not None:
            part.__dict__["decoder"] = self.decoder  # which may be constrained by the whole task
        found = part.exact_preimage(query, **settings._asdict())
        assert isinstance(self.task, Restrictable)
        return dataclasses.replace(found, given=self.task.restrictions[name])

    def validate(
        self,
        cells: int = 208,
        n: int = 10_000,
        *,
        temperatures: Sequence[float] = (1.0, 2.0),
        prior_share: float = 0.4,
        seed: int = 0,
        keep: str | Path | None = None,
        part: tuple[int, int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Validation:
        """Check every estimate against the exact preimage, over `cells` random queries with `n` draws each.

        With `keep`, a folder, each cell is written there when it is done, and what is there is not done again: a killed
        run goes on. `part` (k, of) does only the k-th of so many shares of the cells; processes with the same `keep`
        may so share the work, and a last call without `part` gives the whole.

        Gives how often each 95% interval held the truth and how wide it was, how close weighted samples come to the
        exact distributions, and every cell.
        Raises `UserError` for a task that cannot enumerate, or settings that cannot be.
        """
        return validate(
            self.name,
            self.decoder,
            self.probed,
            self.task,
            cells=cells,
            n=n,
            temperatures=temperatures,
            prior_share=prior_share,
            epsilon=self._own_epsilons,
            metric=self.description.metric,
            seed=seed,
            keep=None if keep is None else Path(keep),
            part=part,
            progress=progress,
        )

    def _settings(
        self,
        query: Query | Sequence[Query],
        epsilon: float | str | None,
        metric: str | None,
        position_rule: str,
        seed: int,
        decoder: Decoder | None,
    ) -> _Settings:
        """What was asked, checked before anything is run."""
        queries = [query] if isinstance(query, Query) else list(query)
        measure, rule = checked_metric(metric or self.description.metric), checked_rule(position_rule)
        for asked in queries:
            checked_site(self.name, self.sites, asked.site)
        if epsilon is None:
            words = dict.fromkeys(self.description.epsilons, f"{self.description.epsilon_rule} of the study")
            chosen = [Epsilon(self.description.epsilon_at(q.site), words.get(q.site, "")) for q in queries]
        else:
            chosen = epsilons_of(
                epsilon, queries, probed=self.probed, task=self.task, decoder=decoder, metric=measure,
                position_rule=rule, seed=seed,
            )  # fmt: skip
        return _Settings(queries, chosen, measure, rule)

    @property
    def _own_epsilons(self) -> float | dict[str, float]:
        if not self.description.epsilons:
            return self.description.epsilon
        return {site: self.description.epsilon_at(site) for site in self.sites}

    def _map_epsilon(self, epsilon: float | str | None, sites: Sequence[str]) -> EpsilonRule | OwnEpsilons:
        if epsilon is None and self.description.epsilons:
            by_site = {site: self.description.epsilon_at(site) for site in sites}
            return OwnEpsilons(by_site, self.description.epsilon_rule)
        return parse_epsilon(self.description.epsilon if epsilon is None else epsilon)

    def _indexed(self, queries: Sequence[Query], folder: Path) -> IndexedDomain:
        for site in dict.fromkeys(query.site for query in queries):
            ensure_index(self.probed, self.task, site, folder)
        if folder not in self._indexes:
            self._indexes[folder] = IndexedDomain(folder, self.probed, self.task)
        return self._indexes[folder]

    def _with_bits(self, found: Sequence[Preimage], asked: _Settings) -> list[Preimage]:
        return [
            dataclasses.replace(preimage, bits=tuple(preimage_bits(preimage, self.task)), epsilon_from=epsilon.words)
            for preimage, epsilon in zip(found, asked.epsilons, strict=True)
        ]

    def _with_curves(self, found: Sequence[Preimage], distances: Float[np.ndarray, "query input"]) -> list[Preimage]:
        prior = None
        if uniform_log_prior(self.task) is None:
            prior = np.concatenate([self.task.log_prior(rows).double().exp().numpy() for rows in self.task.enumerate()])
        return [
            dataclasses.replace(preimage, curve=tuple(epsilon_curve(row, prior, [*GRID, preimage.epsilon])))
            for preimage, row in zip(found, distances, strict=True)
        ]

    def _colored(self, found: Sequence[Preimage]) -> list[Preimage]:
        colored: list[Preimage] = []
        with stage("color", 2 * sum(map(len, found)), partial=found[0] if len(found) == 1 else found):
            activations = query_activations(self.probed, self.task, [preimage.query for preimage in found])
            for preimage, z_q in zip(found, activations, strict=True):
                tokens = torch.from_numpy(preimage.tokens)
                colors = token_colors(self.decoder, self.probed, self.task, tokens, preimage.query.site, z_q)
                colored.append(dataclasses.replace(preimage, colors=colors.double().numpy(), colors_about=BASELINE))
        return colored

    def evaluate(self, n: int = 2000, *, cells: int = 13, seed: int = 0) -> Evaluation:
        """Measure the in-ε rate of decoder samples at every site beside its floor, and the probed model's accuracy.

        `n` held-out inputs a site, one sample each at temperature 1; the floor is what random inputs of the domain get.
        Inputs and positions are chosen as they were in training.
        Where the task can enumerate, also how much of the exact preimages of `cells` random queries 1,000 samples
        reach. Raises `UserError` for n < 1.
        """
        return evaluation(
            self.name,
            self.decoder,
            self.probed,
            self.task,
            n,
            epsilon=self._own_epsilons,
            metric=self.description.metric,
            cells=cells,
            seed=seed,
            read=self.description.read,
        )
