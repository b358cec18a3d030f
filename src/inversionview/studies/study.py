"""A study: a probed model, a task and, for what is sampled, a decoder; and everything that is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inversionview.bank.bank import Bank
from inversionview.causal.ablation import Ablation
from inversionview.causal.effects import PatchEffects, PatchSite
from inversionview.causal.head_selection import HeadSelection
from inversionview.causal.logit_attribution import LogitAttribution
from inversionview.criterion import Criterion, EpsilonLike
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.probed.loading import Loading
from inversionview.probed.model import ProbedModel
from inversionview.progress import Progress
from inversionview.reading.columns import with_features
from inversionview.reading.comparison import compare
from inversionview.reading.explanation.endpoint import Endpoint
from inversionview.reading.information import chosen_features
from inversionview.results.evaluation import Comparison, Evaluation, Validation
from inversionview.results.explanations import Explanations, SiteExplanations
from inversionview.results.hypotheses import HypothesisTests
from inversionview.results.map import Map
from inversionview.results.patching import Direction, Order, Replacement
from inversionview.results.preimage import Preimage, Query
from inversionview.results.use import Use
from inversionview.sites import Site
from inversionview.studies import described
from inversionview.studies.folder import DeviceMap, open_folder, save_parts, with_model
from inversionview.studies.opening import open_domain
from inversionview.studies.parts import LiveParts, Parts, checked_sites
from inversionview.studies.publishing import push
from inversionview.studies.recipes import TaskSource
from inversionview.studies.settings import (
    BY_FEATURES,
    AblateSettings,
    BankSettings,
    CausalSettings,
    EvaluateSettings,
    ExactSettings,
    ExplainSettings,
    HeadSettings,
    Layers,
    MapSettings,
    PatchSettings,
    ReadSettings,
    TestSettings,
    ValidateSettings,
)
from inversionview.studies.verbs.ablate import ablate_inputs
from inversionview.studies.verbs.attribution import attribute, choose_heads
from inversionview.studies.verbs.bank import make_for, plan_for
from inversionview.studies.verbs.causal import causal
from inversionview.studies.verbs.evaluate import evaluation
from inversionview.studies.verbs.exact import Indexes, exact
from inversionview.studies.verbs.explain import explain, explain_sites
from inversionview.studies.verbs.hypotheses import run_hypothesis
from inversionview.studies.verbs.map import make_map
from inversionview.studies.verbs.patch import patch
from inversionview.studies.verbs.query import make_query, vector_query
from inversionview.studies.verbs.read import read
from inversionview.studies.verbs.validate import validate
from inversionview.tasks import Split, Task

Epsilon = EpsilonLike
"""A number, `null:0.01` (a share of unrelated pairs), `causal:0.05` (nats), or one for each site or query."""


def load_study(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device | None = None,
    device_map: DeviceMap | None = None,
) -> Study:
    """Open a study that comes with the package, by its name, one in a folder, or one on the hub (`user/name`).

    `revision`: of the hub, a branch, tag or commit, also written `user/name@revision`; a commit that was fetched once
    is read without asking the hub. Models are loaded when first needed; `device`: without it, the GPU if there is one;
    `device_map`, in its place, spreads the probed model over several (`auto`). Raises `UserError` when there is no
    such study, the hub cannot be reached and there is no local copy, or its description is damaged.
    """
    return Study.of(open_folder(name_or_path, device, device_map, revision))


def open_study(
    domain: str | Path,
    *,
    model: str | Path | ProbedModel,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    begin: str | None = None,
    base: str | Path | None = None,
    device_map: DeviceMap | None = None,
    source: TaskSource | None = None,
    convention: str | None = None,
    sites: Sequence[str] | None = None,
    epsilon: Epsilon | None = None,
    metric: str | None = None,
    name: str | None = None,
) -> Study:
    """A study of any model on a domain, by their names; nothing is trained, and nothing is written.

    `domain`: a task, a recipe, or the folder of a study whose task and sites it is to have; `model`: a path, a hub id,
    or a model in memory; `revision`, `device`, `dtype`, `begin`, `base` and `device_map`: how it is loaded, as
    `ProbedModel.from_pretrained` says; `source`: what a task is to be made of, such as texts; `convention`: by default
    the recipe's or study's, or raw where that is not derived for this model. Where nothing is given, sites are all of
    the model's or the study's, and what makes an input a member is as the recipe or the study has it. Raises
    `UserError` that says which domains there are, and for a model that does not fit.
    """
    how = Loading(revision, base, begin, device, dtype, device_map)
    parts = open_domain(domain, model, source=source, convention=convention, name=name, how=how)
    return Study(
        parts.probed, parts.task, epsilon=epsilon or parts.criterion.epsilon, metric=metric or parts.criterion.metric,
        name=parts.name, sites=parts.chosen if sites is None else sites,
    )  # fmt: skip


class Study:
    """Reads activations of one probed model. Without a decoder, what is sampled comes from the prior alone."""

    def __init__(
        self,
        probed: ProbedModel,
        task: Task,
        decoder: Decoder | None = None,
        *,
        epsilon: Epsilon = 0.1,
        metric: str = "euclidean",
        name: str | None = None,
        sites: Sequence[str] | None = None,
    ) -> None:
        """A study of live objects. `epsilon`, `metric`: what makes an input a member, where nothing else is asked for.

        `name`: what results call it, by default the task's; `sites`: those to read, kinds (`heads`) and layers
        (`a18-24`) among them, by default the decoder's, or all of the model's.
        """
        chosen = None if sites is None else tuple(map(str, probed.select_sites(sites)))
        criterion = Criterion.parse(epsilon, metric)
        self.parts: Parts = LiveParts(name or task.name, probed, task, decoder, criterion, chosen)
        self._indexes: Indexes = {}

    @classmethod
    def of(cls, parts: Parts) -> Study:
        """A study of these parts, of which none is loaded before it is needed."""
        study = cls.__new__(cls)
        study.parts, study._indexes = parts, {}
        return study

    def __repr__(self) -> str:
        return described.line(self.parts)

    def _repr_html_(self) -> str:
        return described.box(self.parts)

    @property
    def name(self) -> str:
        """What results call this study."""
        return self.parts.name

    @property
    def probed(self) -> ProbedModel:
        """The model that is read. Raises `UserError` when it is not there, damaged, or not the one of this study."""
        return self.parts.probed

    @property
    def task(self) -> Task:
        """The domain of the inputs."""
        return self.parts.task

    @property
    def decoder(self) -> Decoder | None:
        """The decoder; None where there is none. Raises `UserError` when it is damaged, or of another probed model."""
        return self.parts.decoder

    @property
    def sites(self) -> tuple[str, ...]:
        """Short names of the sites that can be read."""
        return self.parts.sites

    def select_sites(self, names: Sequence[str | Site] | str) -> tuple[str, ...]:
        """The sites that names stand for: single ones, kinds such as `heads`, and layers such as `a18-24` or `x2-5`.

        Raises `UserError` for a name that stands for no site of the study.
        """
        return checked_sites(self.parts, names)

    @property
    def criterion(self) -> Criterion:
        """What makes an input a member, where nothing else is asked for."""
        return self.parts.criterion

    @property
    def folder(self) -> Path | None:
        """Where it lies on disk; None for one in memory."""
        return self.parts.folder

    def with_model(
        self,
        model: str | Path,
        *,
        convention: str | None = None,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        begin: str | None = None,
        base: str | Path | None = None,
    ) -> Study:
        """The same task and sites with another probed model, and no decoder: for what needs none.

        `model` is a path or the hub's name of one, loaded as `ProbedModel.from_pretrained` says; `convention` is this
        study's by default, or raw where that is not derived for the model. Raises `UserError` when there is no such
        model, or it lacks one of the sites.
        """
        return Study.of(with_model(self.parts, model, convention, Loading(revision, base, begin, device, dtype)))

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write it into a new folder, whole or not at all, for `load_study`.

        With `half` the decoder's weights are kept as 16-bit numbers, in half the room: members are verified by the
        probed model, which is kept as it is, so no member becomes another; which inputs are proposed may.
        Raises `UserError` where there is something already, nothing can be written, or ε is still to be measured.
        """
        save_parts(self.parts, folder, half=half)

    def push_to_hub(
        self,
        name: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        message: str | None = None,
        half: bool = False,
        license: str | None = None,
        evaluation: Evaluation | None = None,
    ) -> str:
        """Write it into the repository `user/name` of the Hugging Face hub, for `load_study`; gives the commit.

        The repository is made where there is none, `private` or not, and the branch `revision` too. What is written is
        what `save` writes, `half` as there, and a model card: what is read, rates beside their floors where
        `evaluation`, the result of `evaluate`, is given, the training, and `license`, that of the probed model. A
        model that the study names on the hub stays there and is not copied. Needs a token: `hf auth login`, or
        HF_TOKEN. Raises `UserError` as `save` does, and where the hub cannot be reached or does not let you write.
        """
        return push(
            self.parts, name, revision=revision, private=private, message=message, half=half, license=license,
            evaluation=evaluation,
        )  # fmt: skip

    def query(
        self,
        text: str | None = None,
        at: str | int | None = None,
        site: str | Site | None = None,
        *,
        vector: torch.Tensor | Sequence[float] | None = None,
    ) -> Query:
        """An activation to read: of an input as one types it, at a named position or an index, and a site.

        Without `at`, the last eligible position. Or, in place of an input, a `vector` of your own `[width]`, in the
        model's convention, which at a site plays the role `at`; without it, only rule `any` compares it with inputs.
        Raises `UserError` that says which positions and sites there are.
        """
        if vector is not None and text is None:
            return vector_query(self.parts, vector, at, site)
        if text is None or vector is not None:
            raise UserError("give an input, or a vector of your own in its place")
        return make_query(self.parts, text, at, site)

    def preimage(
        self, query: Query, n: int = 1000, *, epsilon: Epsilon | None = None, metric: str | None = None,
        position_rule: str = "same", seed: int = 0, temperatures: Sequence[float] = (1.0,),
        noise: Sequence[float] = (0.0,), prior_share: float = 0.1, also: Sequence[str] = (),
        frequencies: str | Path | None = None, frequent: int = 50_000, bank: str | Path | None = None,
        colors: bool = True, explain: bool = True, progress: Progress | None = None,
    ) -> Preimage:  # fmt: skip
        """Draw `n` inputs for the query and verify each.

        A share of the draws comes from the task's prior, the others from the decoder, shared evenly among the
        pairs of `temperatures` and `noise` levels; without a decoder all are from the prior, or where the task
        cannot enumerate from a bank, one of 4,000 inputs that is made when it is first needed, or that in the
        folder `bank`: those of its inputs that are nearest are proposed. For estimates of size and bits,
        several thousand draws at temperatures 1 and 2 with a prior share of 0.4 serve best. `epsilon` and
        `metric` are the study's own by default; ε may also be `null:0.01` or `causal:0.05`. `also` names other
        sources, `retrieval` (nearest held-out inputs), `edits` (a walk inside the preimage), `cosine` (the
        decoder given activations at a cosine of 0.9 to 0.75 from the query's, or at that of `cosine:0.9`),
        `varied` and `unrepeated` (the decoder kept from repeating itself, in our way and in the paper's, which
        spares tokens that occur `frequent` times or more by `frequencies`; `varied:0.9`, `varied:cosine` do
        both), where the task can, `given` (the prior given what an input shares with the query's: `given:asked`
        for one condition, `given` for all), and those that were registered, each of which draws a quarter of
        `n` more. `colors` gives token colours, which are made for the rows that are asked for, and then cost a
        pass of the decoder over these. `explain` adds words by a rule over features, with their scores: `n` / 10
        inputs that fit it, 100 at most, are run, or none where they are of a bank.
        `progress` is told how far it is, see `inversionview.progress`.
        Raises `UserError` for settings that cannot be, or a query activation of norm 0.
        """
        return self.preimages(
            [query], n, epsilon=epsilon, metric=metric, position_rule=position_rule, seed=seed,
            temperatures=temperatures, noise=noise, prior_share=prior_share, also=also,
            frequencies=frequencies, frequent=frequent, bank=bank, colors=colors, explain=explain,
            progress=progress,
        )[0]  # fmt: skip

    def preimages(
        self, queries: Sequence[Query], n: int = 1000, *, epsilon: Epsilon | None = None, metric: str | None = None,
        position_rule: str = "same", seed: int = 0, temperatures: Sequence[float] = (1.0,),
        noise: Sequence[float] = (0.0,), prior_share: float = 0.1, also: Sequence[str] = (),
        frequencies: str | Path | None = None, frequent: int = 50_000, bank: str | Path | None = None,
        colors: bool = True, explain: bool = True, progress: Progress | None = None,
    ) -> list[Preimage]:  # fmt: skip
        """What `preimage` gives for each query, in one go; it does not depend on the queries beside it."""
        settings = ReadSettings(
            n=n, seed=seed, temperatures=tuple(temperatures), noise=tuple(noise), prior_share=prior_share,
            also=tuple(also), frequencies=None if frequencies is None else Path(frequencies), frequent=frequent,
            bank=None if bank is None else Path(bank), colors=colors, explain=explain,
        )  # fmt: skip
        return read(
            self.parts, queries, self.criterion.but(epsilon, metric, position_rule), settings, progress=progress
        )

    def exact_preimage(
        self, query: Query, *, epsilon: Epsilon | None = None, metric: str | None = None, position_rule: str = "same",
        seed: int = 0, curve: bool = False, index: str | Path | None = None, given: str | None = None,
        explain: bool = True,
    ) -> Preimage:  # fmt: skip
        """All inputs of the domain within ε, in one pass over it. Needs no decoder.

        With `index`, a folder, activations are kept there when they are first needed, some 600 MB a site for addition,
        and later queries need no model but for their words. `curve` adds what the preimage is at other ε; it takes 4
        bytes an input.
        `seed` only matters for an ε such as `null:0.01`. `given`, where the domain is too large: only the inputs that
        share something with the query's, such as `counts` (its letters and counts, in every order); sizes and bits are
        then of this part of the domain. `explain` adds words by a rule over features; 4 bytes an input, and none where
        many queries would take more than 1 GB.
        Raises `UserError` for a task that cannot enumerate, settings that cannot be, or a query activation of norm 0.
        """
        return self.exact_preimages(
            [query], epsilon=epsilon, metric=metric, position_rule=position_rule, seed=seed, curve=curve, index=index,
            given=given, explain=explain,
        )[0]  # fmt: skip

    def exact_preimages(
        self, queries: Sequence[Query], *, epsilon: Epsilon | None = None, metric: str | None = None,
        position_rule: str = "same", seed: int = 0, curve: bool = False, index: str | Path | None = None,
        given: str | None = None, explain: bool = True,
    ) -> list[Preimage]:  # fmt: skip
        """What `exact_preimage` gives for each query, in one pass over the domain."""
        settings = ExactSettings(seed, curve, None if index is None else Path(index), given, explain)
        criterion = self.criterion.but(epsilon, metric, position_rule)
        return exact(self.parts, queries, criterion, settings, indexes=self._indexes)

    def bank(
        self, at: str | int | Sequence[str | int], *, sites: Sequence[str] | None = None, n: int = 4000, seed: int = 0,
        split: Split = "all", most: float | None = None, folder: str | Path | None = None,
    ) -> Bank:  # fmt: skip
        """The activations of `n` inputs of the prior at sites and positions, from one pass that keeps them all.

        Heads are kept in their own dimensions. In memory, or with `folder` on disk, where a bank that was not finished
        goes on; `inversionview.bank.folder.load_bank` reads it again. `most`: its largest size in GB, by default half
        of the free memory, or 8 on disk. Raises `UserError` for settings that cannot be, or a bank that is too large.
        """
        settings = BankSettings(None if sites is None else tuple(sites), n, seed, split, most)
        planned = plan_for(self.parts, [at] if isinstance(at, (str, int)) else at, settings)
        return make_for(self.parts, planned, settings, None if folder is None else Path(folder))[0]

    def map(
        self, text: str | None = None, *, queries: int | None = None, where: str | None = None, by: str | None = None,
        at: Sequence[str] | str | None = None, sites: Sequence[str] | None = None, epsilon: Epsilon | None = None,
        metric: str | None = None, n: int | None = None, bank: str | Path | None = None, draws: int | None = None,
        draws_given: int = 1000, seed: int = 0,
    ) -> Map:  # fmt: skip
        """What every site knows at every named position about every feature of the task, in bits.

        The mean over `queries` random inputs a cell, of those that meet the condition `where` over the task's features,
        or with `text` of this one input; with `by`, a feature, also over those with each of its values. `sites` and
        `at` choose cells. Rule `same`. Exact, in one pass over the domain, where the task can enumerate, unless `n` is
        given and smaller. Else from a bank of `n` inputs, 4,000 by default, made here or in the folder `bank`; or, with
        `draws` or where the task can draw given what inputs share, from `draws` inputs of the prior and, a query,
        `draws_given` for each condition. Bits of these are a lower bound, see `Map.estimator`; a cell of which too few
        inputs are members says nothing. Raises `UserError` for settings that cannot be.
        """
        settings = MapSettings(
            queries=queries, where=where, by=by, at=(at,) if isinstance(at, str) else None if at is None else tuple(at),
            sites=None if sites is None else tuple(sites), n=n, bank=None if bank is None else Path(bank), draws=draws,
            draws_given=draws_given, seed=seed,
        )  # fmt: skip
        return make_map(self.parts, self.criterion.but(epsilon, metric), settings, text=text)

    def compare(self, sample: Preimage, exact: Preimage) -> Comparison:
        """What a sample reached of an exact preimage. Raises `UserError` unless both are of one query and criterion."""
        return compare(sample, exact, self.task)

    def test(
        self, queries: Query | Sequence[Query], hypothesis: str | Callable[[str], Any], *, exact: bool | None = None,
        n: int = 1000, random_queries: int = 99, epsilon: Epsilon | None = None, metric: str | None = None,
        position_rule: str = "same", seed: int = 0,
    ) -> HypothesisTests:  # fmt: skip
        """Test a hypothesis about what an activation says, of one query or several sites at one position of one input.

        Gives a list, a test for each query, which draws itself in a notebook.

        The hypothesis is a feature's name, an expression over features such as `F1 + S1 == 14`, or a function of the
        input's text. With `exact`, all inputs of the domain are counted, in one pass, by default where the task can
        enumerate; else `n` are drawn for each activation, never those of `preimage`, on which a hypothesis is found.
        The p-value compares with the preimages of `random_queries` inputs; see
        `inversionview.studies.verbs.hypotheses.run_hypothesis`, and for what raises `UserError`.
        """
        several = [queries] if isinstance(queries, Query) else list(queries)
        settings = TestSettings(exact, n, random_queries, seed)
        return run_hypothesis(
            self.parts, several, hypothesis, self.criterion.but(epsilon, metric, position_rule), settings
        )

    def explain(
        self, query: Query, *, by: str | Endpoint = BY_FEATURES, by_model: str | None = None,
        by_tokens: int | None = None, exact: bool | None = None, n: int = 4000, written: int = 200,
        used: bool = False, given: str | None = None, epsilon: Epsilon | None = None, metric: str | None = None,
        seed: int = 0,
    ) -> Explanations:  # fmt: skip
        """Put what an activation says into words, and score the words on inputs on which they were not found.

        A short rule over the task's features that tells members of the preimage from near misses and random inputs, of
        three parts at most, the shortest that is within an error of the best. It is found on half of the inputs. With
        `exact`, it is scored on all inputs of the domain, by default where the task can enumerate; else on the other
        half of `n` draws, from the decoder and the prior, or without a decoder of a bank. `written` inputs that fit it
        are run through the model: how many come to lie within ε is its first score, see `results.explanation.ABOUT`
        for all. Where no rule is better than chance, or what fits one is as often near other activations, it says
        nothing. `by`: also by a language model, which is shown members and others, and asked again to score its words
        where it gives no expression; the URL of an OpenAI-compatible endpoint with the model's name, `by_model`, or an
        `Endpoint`; `by_tokens`: of an answer at most. `used`: also, whether the model uses what is said, as `causal`
        tries it for a feature, with `written` inputs of each group. `given`: of the inputs alone that share something
        with the query's, as in `exact_preimage`. Rule `same`. Raises `UserError` for settings that cannot be, and
        an endpoint that fails.
        """
        how, endpoint = (by, None) if isinstance(by, str) else (BY_FEATURES, by)
        settings = ExplainSettings(exact, n, written, used, given, how, by_model, by_tokens, seed=seed)
        return explain(self.parts, query, self.criterion.but(epsilon, metric), settings, endpoint=endpoint)

    def explain_sites(
        self, sites: Sequence[str | Site] | str, at: str | int, *, queries: int = 100, exact: bool | None = None,
        n: int = 4000, written: int = 200, used: bool = False, epsilon: Epsilon | None = None,
        metric: str | None = None, seed: int = 0,
    ) -> SiteExplanations:  # fmt: skip
        """Put what sites say at a position into words: what their activations of `queries` random inputs speak of.

        Settings are those of `explain`. Raises `UserError` as it does, and for sites and positions that there are not.
        """
        settings = ExplainSettings(exact, n, written, used, queries=queries, seed=seed)
        return explain_sites(self.parts, self.select_sites(sites), at, self.criterion.but(epsilon, metric), settings)

    def patch(
        self, *, target: str | int, sites: str | Sequence[str | PatchSite], contrast: str,
        at: str | int | None = None, order: Order = "forward", direction: Direction = "contrast-into-clean",
        where: str | None = None, contrast_where: str | None = None, n: int = 2000, seed: int = 0, tries: int = 100,
    ) -> PatchEffects:  # fmt: skip
        """Put activations of one run into another, and measure what that does to the logit difference of the answers.

        `sites`, names separated by commas or in a list, each with a position of its own after an @, such as
        `a0.0@letter,a1.0@:`, or else at `at`; `target`: the token that is predicted; `contrast`: `change:F1,S1`,
        `random` or `flip`. `target`, `contrast` and the conditions are those of `causal.contrast.make_pairs`, `order`
        is that of `causal.effects.ordered`, and `direction` that of `causal.patching.patch_effects`.
        Raises `UserError` for settings that cannot be, and where no pair is left.
        """
        settings = PatchSettings(at, order, direction, where, contrast_where, n, seed, tries)
        return patch(self.parts, target, sites, contrast, settings)

    def causal(
        self, query: Query, *, n: int = 500, exact: bool | None = None, draws: int = 4000,
        epsilon: Epsilon | None = None, metric: str | None = None, position_rule: str = "same",
        features: Sequence[str] | None = None, given: str | Sequence[str] | None = None,
        outputs: Sequence[str | int] | None = None, seed: int = 0,
    ) -> Use:  # fmt: skip
        """Is what the activation encodes also used? Members and non-members of its preimage are put in its place.

        Members should leave the output as it is and matched non-members should change it; for each feature, whether
        non-members that share the query's value of it keep the output better than others: used, or merely present.
        `n`: inputs of each group. `exact`: of the whole preimage, by default where the task can enumerate; else of
        `draws` candidates, from the decoder at temperatures 1 and 2 and, four in ten, from the prior, and a quarter
        more from the prior given what inputs share with the query's, where the task can. `features`: those to be told
        about, by default all; `given`: those held at the query's value in all non-members. `outputs`: positions whose
        next token is looked at. Raises `UserError` for settings that cannot be, and as `causal.use.use` does.
        """
        held = (given,) if isinstance(given, str) else None if given is None else tuple(given)
        settings = CausalSettings(
            n=n, exact=exact, draws=draws, features=None if features is None else tuple(features), given=held,
            outputs=None if outputs is None else tuple(outputs), seed=seed,
        )  # fmt: skip
        return causal(self.parts, query, self.criterion.but(epsilon, metric, position_rule), settings)

    def ablate(
        self, inputs: str | Sequence[str], site: str | Site, at: str | int, *, kind: Replacement = "mean",
        outputs: Sequence[str | int] | None = None, seed: int = 0,
    ) -> Ablation:  # fmt: skip
        """Replace the activation at a site and position of each input, and compare the predictions after it.

        By the mean over 2,000 held-out inputs at the same role, or by that of one of them (`resample`); see
        `causal.ablation.ablate`, and for what raises `UserError`.
        """
        settings = AblateSettings(kind, None if outputs is None else tuple(outputs), seed)
        return ablate_inputs(self.parts, inputs, site, at, settings)

    def logit_attribution(self, query: Query, *, final_norm: bool = True) -> LogitAttribution:
        """What the query's activation adds to the logits at its position, directly; see `causal.logit_attribution`.

        `final_norm=False`: without the scale of the final norm, as in the paper's code for IOI.
        """
        return attribute(self.parts, query, final_norm=final_norm)

    def head_selection(
        self, at: str = "END", *, n: int = 500, least: float = 0.02, layers: Layers = "all",
        texts: str | Path | None = None, seed: int = 0,
    ) -> HeadSelection:  # fmt: skip
        """How often each head counts at a position of `n` random training inputs, by what it adds to the stream.

        A head counts where its share is above `least`. `layers`: `all`, or the `upper` half of them alone. `texts`: a
        file of COUNTERFACT or folder of BEAR, whose facts are taken instead, all of them; the paper's are those of
        `known_1000.json`. See `causal.head_selection`, and for what raises `UserError`.
        """
        given = None if texts is None else str(texts)
        return choose_heads(self.probed, self.task, HeadSettings(at, n, least, layers, given, seed))

    def with_columns(self, preimage: Preimage, names: Sequence[str] | None = None) -> Preimage:
        """The preimage with a column for each of these features beside its inputs; by default the task's own choice.

        Raises `UserError` for a feature that the task does not have.
        """
        chosen = self.task.columns if names is None else names
        return with_features(preimage, self.task, chosen) if chosen else preimage

    def checked_features(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names, all of features of the task. Raises `UserError` for one that is not, naming those there are."""
        return tuple(feature.name for feature in chosen_features(self.task, names))

    def evaluate(self, n: int = 2000, *, cells: int = 13, seed: int = 0) -> Evaluation:
        """Measure the in-ε rate of decoder samples at every site beside its floor, and the probed model's accuracy.

        `n` held-out inputs a site, one sample each at temperature 1; the floor is what random inputs of the domain get.
        Inputs and positions are chosen as they were in training.
        Where the task can enumerate, also how much of the exact preimages of `cells` random queries 1,000 samples
        reach. Raises `UserError` for n < 1.
        """
        return evaluation(self.parts, self.criterion, EvaluateSettings(n, cells, seed))

    def validate(
        self, cells: int = 208, n: int = 10_000, *, temperatures: Sequence[float] = (1.0, 2.0),
        prior_share: float = 0.4, seed: int = 0, keep: str | Path | None = None, part: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> Validation:  # fmt: skip
        """Check every estimate against the exact preimage, over `cells` random queries with `n` draws each.

        With `keep`, a folder, each cell is written there when it is done, and what is there is not done again: a killed
        run goes on. `part` (k, of) does only the k-th of so many shares of the cells; processes with the same `keep`
        may so share the work, and a last call without `part` gives the whole.
        Gives how often each 95% interval held the truth and how wide it was, how close weighted samples come to the
        exact distributions, and every cell. `progress` is told how far it is, see `inversionview.progress`.
        Raises `UserError` for a task that cannot enumerate, or settings that cannot be.
        """
        folder = None if keep is None else Path(keep)
        settings = ValidateSettings(cells, n, tuple(temperatures), prior_share, seed, folder, part)
        return validate(self.parts, self.criterion, settings, progress=progress)
