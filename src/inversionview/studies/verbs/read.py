"""Sampled readings: a preimage from the decoder, the prior and other sources, with what is said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.bank.bank import Bank
from inversionview.criterion import Criterion, EpsilonRule
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.preimage.epsilon.calibration import Epsilon
from inversionview.preimage.epsilon.null import check_share
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.banked import bank_sample
from inversionview.preimage.sources.proposals import Source, mixture
from inversionview.preimage.sources.registry import SOURCES, Wanted, make_sources
from inversionview.preimage.sources.widened import Frequencies
from inversionview.progress import Progress, told
from inversionview.reading.attribution import BASELINE, colors_of
from inversionview.reading.bank_map import bank_map, own_input
from inversionview.reading.columns import with_features
from inversionview.reading.information import preimage_bits, with_values
from inversionview.reading.patterns import with_patterns
from inversionview.results.estimates import FeatureBits
from inversionview.results.preimage import Preimage, Query
from inversionview.sites import Site
from inversionview.studies.banks import bank_for
from inversionview.studies.parts import Parts, checked_site, counts_all, decoder_for, live_parts, measured
from inversionview.studies.settings import ReadSettings
from inversionview.studies.verbs.explain_by_features import explained_draws, explained_from_bank
from inversionview.studies.verbs.map_cells import LEAST_IN_BANK
from inversionview.tasks.base import Conditional, Task


def read(
    parts: Parts,
    queries: Sequence[Query],
    criterion: Criterion,
    settings: ReadSettings,
    *,
    progress: Progress | None = None,
) -> list[Preimage]:
    """A sampled preimage for each query; see `Study.preimage`."""
    for query in queries:
        checked_site(parts, query.site)
    apart = [query for query in queries if decoder_for(parts, [query]) is None]
    if parts.decoder is not None and apart:  # at sites that the decoder was not trained on
        alone = dataclasses.replace(live_parts(parts), decoder=None)
        others = [query for query in queries if query not in apart]
        from_prior = iter(read(alone, apart, criterion, settings, progress=progress))
        from_decoder = iter(read(parts, others, criterion, settings, progress=progress) if others else ())
        return [next(from_prior if query in apart else from_decoder) for query in queries]
    _check(parts, criterion, settings)
    with told(progress):
        bank = _bank(parts, queries, criterion, settings)
        epsilons = measured(parts, queries, criterion, settings.seed, bank=bank)
        criterion = criterion.but([epsilon.value for epsilon in epsilons])
        preimages = sampled_preimages(
            parts.probed,
            parts.task,
            queries,
            _sources(parts, criterion, settings) if bank is None else _near(parts, bank, queries, criterion, settings),
            criterion=criterion,
            seed=settings.seed,
        )
        preimages = [with_words(parts.task, *row) for row in zip(preimages, epsilons, strict=True)]
        if bank is not None:
            preimages = [_with_scores(parts, bank, preimage) for preimage in preimages]
        if settings.explain:
            preimages = _explained(parts, bank, preimages, settings.seed)
        if settings.colors and parts.decoder is not None and preimages:
            preimages = [_colored(parts, parts.decoder, preimage) for preimage in preimages]
    return preimages


def _check(parts: Parts, criterion: Criterion, settings: ReadSettings) -> None:
    """Raise `UserError` for what cannot be, before a bank is made or ε is measured."""
    if isinstance(criterion.epsilon, EpsilonRule) and criterion.epsilon.kind == "null":
        check_share(criterion.epsilon.value)
    _settings_sources(parts, settings)
    for name in settings.also:
        SOURCES.find(name.partition(":")[0])


def _settings_sources(parts: Parts, settings: ReadSettings) -> list[Source]:
    """The decoder, where there is one, and the prior."""
    return mixture(
        parts.decoder, parts.task, settings.n, settings.temperatures, noise=settings.noise,
        prior_share=settings.prior_share,
    )  # fmt: skip


def _sources(parts: Parts, criterion: Criterion, settings: ReadSettings) -> list[Source]:
    sources, n = _settings_sources(parts, settings), max(1, settings.n // 4)
    for name in settings.also:
        wanted = Wanted(parts.probed, parts.task, parts.decoder, criterion, n, name, _frequencies(settings))
        sources += make_sources(wanted)
    return sources


def _frequencies(settings: ReadSettings) -> Frequencies | None:
    return None if settings.frequencies is None else Frequencies(settings.frequencies, settings.frequent)


def _bank(parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ReadSettings) -> Bank | None:
    """The bank to read from: where there is no decoder, and a sample says what counting would take too long to say."""
    few = counts_all(parts) or isinstance(parts.task, Conditional)
    if parts.decoder is not None or criterion.position_rule != "same" or (few and settings.bank is None):
        if settings.bank is not None:
            raise UserError("a bank is read without a decoder, by position rule same: leave it out")
        return None
    sites = [Site.named(query.site) for query in queries]
    roles = list(dict.fromkeys(query.role for query in queries))
    return bank_for(parts, list(dict.fromkeys(sites)), roles, folder=settings.bank) if queries and all(roles) else None


def _near(
    parts: Parts, bank: Bank, queries: Sequence[Query], criterion: Criterion, settings: ReadSettings
) -> list[Source]:
    z_q = query_activations(parts.probed, parts.task, queries)
    sources: list[Source] = [bank_sample(bank, parts.task, queries, z_q, criterion=criterion, most=settings.n)]
    for name in settings.also:
        wanted = Wanted(parts.probed, parts.task, None, criterion, max(1, settings.n // 4), name)
        sources += make_sources(wanted)
    return sources


def _with_scores(parts: Parts, bank: Bank, preimage: Preimage) -> Preimage:
    """Bits as scores of the query's own values, which few members cannot make too good; of a vector there are none."""
    query, task = preimage.query, parts.task
    if query.vector is not None:
        return preimage
    site = parts.probed.site(query.site)
    asked = own_input(bank, parts.probed, torch.tensor(query.tokens), query.position, [site])
    limits = {(str(site), query.role): preimage.epsilon}
    [cell] = bank_map(bank, task, [site], {query.role: asked}, epsilon=limits, metric=preimage.metric)
    assert cell.scores is not None
    assert cell.score_interval is not None
    assert cell.effective is not None
    if cell.effective[0] < LEAST_IN_BANK:
        return dataclasses.replace(preimage, bits=())
    rows = zip(cell.features, cell.scores[0], cell.of, cell.divergence[0], cell.score_interval, strict=True)
    bits = [
        FeatureBits(name, float(bits), float(of), float(apart), (float(ends[0]), float(ends[1])))
        for name, bits, of, apart, ends in rows
    ]
    return with_patterns(dataclasses.replace(preimage, bits=tuple(with_values(bits, preimage, task))), task)


def _explained(parts: Parts, bank: Bank | None, preimages: Sequence[Preimage], seed: int) -> list[Preimage]:
    if bank is None:
        return explained_draws(parts, preimages, seed)
    return explained_from_bank(parts, preimages, seed, bank)


def with_words(task: Task, preimage: Preimage, epsilon: Epsilon) -> Preimage:
    """The preimage with its bits, what its members share, the task's own columns, and where its ε comes from."""
    preimage = dataclasses.replace(
        preimage, bits=tuple(preimage_bits(preimage, task)), epsilon_from=epsilon.words, rounding=epsilon.rounding
    )
    preimage = with_patterns(preimage, task)
    return with_features(preimage, task, task.columns) if task.columns else preimage


def drawn_whatever_epsilon(parts: Parts, query: Query, also: Sequence[str]) -> bool:
    """Whether a reading's draws are the same at every ε: those of a decoder and of the prior are."""
    return decoder_for(parts, [query]) is not None and not also


def reread(parts: Parts, preimage: Preimage, criterion: Criterion, seed: int) -> Preimage:
    """What the same draws say at the ε of a criterion that has their metric and position rule; nothing is drawn.

    Without an explanation.
    """
    [epsilon] = measured(parts, [preimage.query], criterion, seed)
    return with_words(parts.task, preimage.at_epsilon(epsilon.value), epsilon)


def _colored(parts: Parts, decoder: Decoder, preimage: Preimage) -> Preimage:
    def activation() -> Float[Tensor, " width"]:
        z_q = query_activations(parts.probed, parts.task, [preimage.query])
        return z_q[0]

    colors = colors_of(decoder, parts.probed, parts.task, preimage, activation)
    return dataclasses.replace(preimage, colors=colors, colors_about=BASELINE)
