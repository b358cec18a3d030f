"""Whether the estimates tell the truth: each of them beside what enumeration of the domain says, over many cells."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from inversionview.criterion import Criterion, SiteEpsilons
from inversionview.errors import UserError
from inversionview.files import claimed, read_json, write_json
from inversionview.preimage.domain import checked_enumerable, domain_size
from inversionview.preimage.epsilon.calibration import site_epsilons
from inversionview.preimage.exact import scan_domain
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import mixture
from inversionview.probed.model import ProbedModel
from inversionview.progress import Progress, advance, stage, told
from inversionview.reading.information import (
    base_masses,
    chosen_features,
    entropy,
    feature_masses,
    preimage_bits,
    total_variation,
)
from inversionview.results import convert
from inversionview.results.estimators import at_least, draw_counts, reach, recall, size, unseen_mass
from inversionview.results.evaluation import (
    CheckedCell,
    CheckedEstimate,
    Estimator,
    Marginals,
    Quantiles,
    Validation,
)
from inversionview.results.importance import log_mixture
from inversionview.results.preimage import Preimage, Query
from inversionview.studies.parts import Parts, needed_decoder
from inversionview.studies.settings import ValidateSettings
from inversionview.tasks.base import Task
from inversionview.tasks.positions import draw_positions, last_eligible

COVERAGE = 0.9
"""Share of cells in which an interval must hold its truth to stay."""
CLOSE_MARGINAL, CLOSE_BITS = 0.05, 0.1
"""Total variation and bits within which a weighted sample is called close to the truth."""


class Truth(NamedTuple):
    """The exact preimage of one cell, as which inputs of the domain it holds."""

    inside: Bool[np.ndarray, " input"]
    mass: float
    """Prior mass of the inputs that have the role."""


class _Pair(NamedTuple):
    """One feature of one cell: weighted sample beside the truth."""

    feature: str
    total_variation: float
    of: float
    """H(F), in bits."""
    truth: float
    """H(F) - H(F | B) of the exact preimage."""
    bits: float | None
    interval: tuple[float, float] | None

    @property
    def varies(self) -> bool:
        """Whether there was anything to say about the feature."""
        return self.of > 1e-9


class Outcome(NamedTuple):
    """One estimate of one cell beside its truth; no interval where the estimator abstained."""

    estimator: str
    truth: float
    value: float | None
    interval: tuple[float, float] | None


class _Record(NamedTuple):
    """What was found out about one cell."""

    cell: CheckedCell
    outcomes: list[Outcome]
    pairs: list[_Pair]


class _Kept:
    """The records of the cells that are done, in memory or, so that a killed run goes on, one file each in a folder."""

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.records: dict[int, _Record] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def read(self, cell: int) -> _Record | None:
        """The record of a cell. Raises `UserError` for one of another validation, or a damaged file."""
        if self.folder is None or cell in self.records or not self._file(cell).exists():
            return self.records.get(cell)
        document = read_json(self._file(cell), "record of a validated cell")
        try:
            if document["settings"] != self.settings:
                raise UserError(f"{self._file(cell)} is of a validation with other settings: give another folder")
            outcomes = [Outcome(o[0], o[1], o[2], _interval(o[3])) for o in document["outcomes"]]
            pairs = [_Pair(p[0], p[1], p[2], p[3], p[4], _interval(p[5])) for p in document["pairs"]]
            checked = convert.parsed(CheckedCell, document["cell"], str(self._file(cell)))
            self.records[cell] = _Record(checked, outcomes, pairs)
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"{self._file(cell)} is damaged: remove it, and its cell is checked again") from error
        return self.records[cell]

    def write(self, cell: int, record: _Record) -> None:
        """Keep the record of a cell."""
        self.records[cell] = record
        if self.folder is not None:
            outcomes = [[o.estimator, o.truth, o.value, _ends(o.interval)] for o in record.outcomes]
            pairs = [[*p[:5], _ends(p.interval)] for p in record.pairs]
            content = {
                "settings": self.settings,
                "cell": convert.plain(record.cell),
                "outcomes": outcomes,
                "pairs": pairs,
            }
            write_json(self._file(cell), content)

    def _file(self, cell: int) -> Path:
        assert self.folder is not None
        return self.folder / f"cell-{cell:05}.json"


def _ends(interval: tuple[float, float] | None) -> list[float | None] | None:
    return None if interval is None else [finite(end) for end in interval]


def _interval(ends: list[float | None] | None) -> tuple[float, float] | None:
    """An interval from a file, where only its upper end can be infinite, and is null."""
    return None if ends is None else (float(ends[0] or 0.0), math.inf if ends[1] is None else ends[1])


def random_cells(task: Task, sites: Sequence[str], n: int, study: str, generator: torch.Generator) -> list[Query]:
    """`n` queries: inputs from the prior at a random eligible position, the sites in turn."""
    tokens = task.sample(n, generator=generator)
    positions = draw_positions(task, tokens, generator).tolist()
    cells = []
    for i, (row, position) in enumerate(zip(tokens, positions, strict=True)):
        strings = tuple(task.token_strings(row))
        ids = tuple(row.tolist()[: len(strings)])
        role = task.role(row, position)
        cells.append(Query(study, task.decode(row), ids, strings, position, role, sites[i % len(sites)]))
    return cells


def validate(
    parts: Parts,
    criterion: Criterion,
    settings: ValidateSettings,
    *,
    progress: Progress | None = None,
) -> Validation:
    """Every estimate beside what enumeration says; see `Study.validate`.

    `part` (k, n) checks only every n-th cell, from the k-th: n processes with one `keep` share the work.
    """
    alone = settings.keep if settings.part is None else None
    with told(progress), nullcontext() if alone is None else claimed(alone, resume=True):
        return _validated(parts, criterion, settings)


def _validated(parts: Parts, criterion: Criterion, settings: ValidateSettings) -> Validation:
    probed, task = parts.probed, parts.task
    checked_enumerable(task)
    decoder, cells, n, seed, part = needed_decoder(parts), settings.cells, settings.n, settings.seed, settings.part
    if cells < 1:
        raise UserError(f"validate at least 1 cell, not {cells}")
    sources = mixture(decoder, task, n, settings.temperatures, prior_share=settings.prior_share)
    criterion = site_epsilons(criterion.but(position_rule="same"), decoder.config.sites, probed=probed, task=task)
    own = criterion.epsilon
    epsilon = dict(own.by_site) if isinstance(own, SiteEpsilons) else criterion.limits([""])[0]
    queries = random_cells(task, decoder.config.sites, cells, parts.name, torch.Generator().manual_seed(seed))
    identity: dict[str, Any] = {
        "study": parts.name,
        "fingerprint": probed.fingerprint,
        "epsilon": epsilon,
        "metric": criterion.metric,
        "n": n,
    }
    identity |= {
        "temperatures": list(settings.temperatures),
        "prior_share": settings.prior_share,
        "seed": seed,
        "cells": cells,
    }
    kept = _Kept(settings.keep, identity)
    todo = [i for i in range(cells) if kept.read(i) is None]
    if part is not None:
        todo = [i for i in todo if i % part[1] == part[0]]
    truths = exact_sets(probed, task, [queries[i] for i in todo], criterion) if todo else []
    domain = _domain(task) if todo else None
    with stage("checking cells", len(todo)):
        for i, truth in zip(todo, truths, strict=True):
            assert domain is not None
            with stage("cell"):
                [sample] = sampled_preimages(probed, task, [queries[i]], sources, criterion=criterion, seed=seed)
            outcomes_of_cell = list(_outcomes(sample, truth, domain))
            pairs = _marginals(sample, truth, task, domain)
            kept.write(i, _Record(_cell(sample, truth, outcomes_of_cell), outcomes_of_cell, pairs))
            advance(1)
    records = [record for i in range(cells) if (record := kept.read(i)) is not None]
    outcomes = [outcome for record in records for outcome in record.outcomes]
    pairs = [pair for record in records for pair in record.pairs]
    outcomes += [Outcome("bits of a feature", pair.truth, pair.bits, pair.interval) for pair in pairs if pair.varies]
    checked = [
        dataclasses.replace(record.cell, largest_total_variation=max(pair.total_variation for pair in record.pairs))
        for record in records
    ]
    return Validation(
        study=parts.name,
        epsilon=epsilon,
        metric=criterion.metric,
        position_rule="same",
        n=n,
        temperatures=settings.temperatures,
        prior_share=settings.prior_share,
        seed=seed,
        estimators=tuple(_table(outcomes)),
        marginals=_closeness(pairs),
        effective_size=_quantiles([cell.effective_size for cell in checked]),
        inside=_quantiles([cell.inside for cell in checked]),
        cells=tuple(checked),
    )


def exact_sets(probed: ProbedModel, task: Task, queries: Sequence[Query], criterion: Criterion) -> list[Truth]:
    """Which inputs of the domain are inside, for each query; one byte an input and query. Rule `same`."""
    limits = torch.tensor(criterion.limits([query.site for query in queries]), dtype=torch.float64)
    inside = np.zeros((len(queries), task.size or 0), dtype=bool)
    with stage("scan", task.size):
        for scan in scan_domain(probed, task, queries, criterion=criterion):
            columns = slice(scan.start, scan.start + len(scan.tokens))
            inside[list(scan.queries), columns] = (scan.distances.double() <= limits[list(scan.queries), None]).numpy()
    return [Truth(row, domain_size(task, query.role).mass) for row, query in zip(inside, queries, strict=True)]


class _Domain(NamedTuple):
    """What is known of every input, whatever the query."""

    mass: Float[np.ndarray, " input"]
    """Under the prior."""
    codes: dict[str, Int[np.ndarray, " input"]]
    """Of every feature; of those that ask for a position, at the last eligible one."""


def _domain(task: Task) -> _Domain:
    features = chosen_features(task)
    mass: list[np.ndarray] = []
    codes: dict[str, list[np.ndarray]] = {feature.name: [] for feature in features}
    with stage("reading the features of all inputs", task.size):
        for tokens in task.enumerate():
            mass.append(task.log_prior(tokens).double().exp().numpy())
            positions = last_eligible(task, tokens)
            for feature in features:
                codes[feature.name].append(feature.compute(tokens, positions).to(torch.int16).numpy())
            advance(len(tokens))
    return _Domain(np.concatenate(mass), {name: np.concatenate(parts) for name, parts in codes.items()})


def _outcomes(sample: Preimage, truth: Truth, domain: _Domain) -> Iterator[Outcome]:
    whole = float(domain.mass[truth.inside].sum())
    count = float(truth.inside.sum())
    estimate = size(sample)
    yield Outcome("size, bits", math.log2(truth.mass / whole), estimate.bits, estimate.bits_interval)
    members = sample.inside & sample.independent
    prior = np.exp(sample.log_prior) if sample.log_prior is not None else np.zeros(len(sample))
    reached = reach(sample)
    yield Outcome("reach, share found", float(prior[members].sum()) / whole, reached.share, reached.interval)
    drawn = draw_counts(sample) > 0
    names = [component.source for component in sample.components]
    if "prior" in names:
        others = members & np.delete(drawn, names.index("prior"), axis=0).any(axis=0)
        checked = recall(sample)
        yield Outcome(
            "recall of the decoder's draws", float(prior[others].sum()) / whole, checked.share, checked.interval
        )
    bound = at_least(sample)
    yield Outcome(
        "at least, log2 inputs",
        math.log2(count),
        None if bound.bound is None else math.log2(bound.bound),
        None if bound.bound is None else (math.log2(bound.bound), math.inf),
    )
    missing, unseen = _missing_mass(sample), unseen_mass(sample)
    if missing is not None:
        yield Outcome("unseen mass, Good-Turing", missing, unseen.share, unseen.interval)


def _missing_mass(sample: Preimage) -> float | None:
    """Mass under q(· | B) of the first decoder that it has not drawn: what Good-Turing estimates.

    From the draws of the other components inside B that it did not draw, weighted by q over their own density; what it
    drew itself is known. Independent of the counts that Good-Turing uses.
    """
    names = [component.source for component in sample.components]
    decoders = [i for i, name in enumerate(names) if name != "prior"]
    if not decoders or len(names) < 2 or sample.log_densities is None:
        return None
    own, rest = decoders[0], [i for i in range(len(names)) if i != decoders[0]]
    counts = draw_counts(sample)
    inside, seen = sample.inside, sample.inside & (counts[own] > 0)
    mass = float(np.exp(sample.log_densities[own, seen]).sum())
    new = inside & ~seen & (counts[rest].sum(axis=0) > 0)
    mixed = log_mixture(sample.log_densities[rest][:, new], [sample.components[i].n for i in rest])
    weights = np.exp(sample.log_densities[own, new] - mixed) * counts[rest][:, new].sum(axis=0)
    missing = float(weights.sum()) / sum(sample.components[i].n for i in rest)
    return missing / (missing + mass) if missing + mass > 0 else None


def _marginals(sample: Preimage, truth: Truth, task: Task, domain: _Domain) -> list[_Pair]:
    """Feature by feature: how far the weighted sample's distribution and bits are from the exact ones."""
    features = chosen_features(task)
    weighted = sample.weights
    rows = np.flatnonzero(weighted > 0)
    tokens, positions = torch.from_numpy(sample.tokens[rows]), torch.from_numpy(sample.positions[rows])
    masses = feature_masses(features, tokens, positions, weighted[rows])
    base = base_masses(task, sample.query.role)
    sampled = {bits.name: bits for bits in preimage_bits(sample, task)}
    pairs = []
    for feature, mass in zip(features, masses, strict=True):
        exact = np.bincount(
            domain.codes[feature.name][truth.inside], weights=domain.mass[truth.inside], minlength=len(feature.values)
        )
        of = float(entropy(base[feature.name]))
        bits = of - float(entropy(exact))
        apart = total_variation(mass, exact)
        bits_of = sampled.get(feature.name)
        value, interval = (None, None) if bits_of is None else (bits_of.bits, bits_of.interval)
        pairs.append(_Pair(feature.name, apart, of, bits, value, interval))
    return pairs


def _cell(sample: Preimage, truth: Truth, outcomes: Sequence[Outcome]) -> CheckedCell:
    estimate = size(sample)
    query = sample.query
    return CheckedCell(
        input=query.needed_input("a validation"),
        at=query.role,
        site=query.site,
        inside=int(truth.inside.sum()),
        found=int(sample.inside.sum()),
        effective_size=estimate.effective_size,
        pareto_k=estimate.pareto_k,
        estimates={o.estimator: CheckedEstimate(o.truth, o.value, o.interval) for o in outcomes},
    )


def _table(outcomes: Sequence[Outcome]) -> list[Estimator]:
    """How often each estimator's interval held its truth; one that abstained did not."""
    rows = []
    for name in dict.fromkeys(outcome.estimator for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.estimator == name]
        said = [outcome for outcome in own if outcome.interval is not None and outcome.value is not None]
        slack = 1e-6  # rounding, where the interval is a point
        held = sum(o.interval[0] - slack <= o.truth <= o.interval[1] + slack for o in said if o.interval)
        widths = [o.interval[1] - o.interval[0] for o in said if o.interval]
        errors = [abs(o.value - o.truth) for o in said if o.value is not None]
        coverage = float(held / len(own))
        rows.append(
            Estimator(
                estimator=name.partition(",")[0],
                quantity=name.partition(", ")[2] or "share",
                cells=len(own),
                answered=len(said),
                coverage=coverage,
                median_width=finite(float(np.median(widths))) if widths else None,
                median_error=float(np.median(errors)) if errors else None,
                unit="bits" if "bits" in name or "log2" in name else "share",
                kept=bool(coverage >= COVERAGE),
            )
        )
    return rows


def _closeness(pairs: Sequence[_Pair]) -> Marginals:
    """How many pairs of a cell and a feature the weighted sample gives as the exact preimage does."""
    varying = [pair for pair in pairs if pair.varies]
    off = [abs(pair.bits - pair.truth) if pair.bits is not None else math.inf for pair in varying]
    return Marginals(
        pairs=len(varying),
        within_total_variation=sum(p.total_variation <= CLOSE_MARGINAL for p in varying) / len(varying),
        total_variation=CLOSE_MARGINAL,
        median_total_variation=float(np.median([p.total_variation for p in varying])),
        within_bits=sum(error <= CLOSE_BITS for error in off) / len(varying),
        bits=CLOSE_BITS,
        median_bits_error=finite(float(np.median(off))),
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    return Quantiles(*(float(np.percentile(values, share)) for share in (0, 10, 50, 90, 100)))


def finite(value: float) -> float | None:
    """A number for JSON, which has no infinity."""
    return value if math.isfinite(value) else None
