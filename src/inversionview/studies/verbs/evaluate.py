"""How good a study's decoder is, and how good the probed model is at its task."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Bool

from inversionview.criterion import Criterion
from inversionview.decoder.model import Decoder
from inversionview.decoder.places import make_places
from inversionview.errors import UserError
from inversionview.preimage.epsilon.calibration import site_epsilons
from inversionview.preimage.estimates.rates import Hits, in_epsilon, mean_share
from inversionview.preimage.estimates.reach import chance_to_be_drawn
from inversionview.preimage.sampled import query_activations
from inversionview.probed.model import ProbedModel
from inversionview.progress import stage
from inversionview.results.evaluation import Evaluation, Rate, Rates, Reach
from inversionview.seeds import seeded
from inversionview.sites import Site
from inversionview.studies.parts import Parts, counts_all, needed_decoder
from inversionview.studies.settings import EvaluateSettings
from inversionview.studies.verbs.validate import exact_sets, random_cells
from inversionview.tasks import Task
from inversionview.tasks.outputs import exact_match
from inversionview.training import fast_dtype

REACH_DRAWS, REACH_MEMBERS = 1000, 500
ACCURACY_INPUTS = 20_000
"""Held-out inputs at most for the probed model's exact match, whose standard error is then at most 0.0035."""


def evaluation(parts: Parts, criterion: Criterion, settings: EvaluateSettings) -> Evaluation:
    """In-ε rates of decoder samples at every site, completeness and accuracy; see `Study.evaluate`."""
    decoder, probed, task, n, seed = _in_fast_type(parts), parts.probed, parts.task, settings.n, settings.seed
    if n < 1:
        raise UserError(f"n must be at least 1, not {n}")
    criterion = site_epsilons(criterion, decoder.config.sites, probed=probed, task=task)
    generator = seeded(seed)
    sites = [Site.parse(name) for name in decoder.config.sites]
    places = make_places(parts.read, probed, task, sites)
    samples, floor, _ = in_epsilon(decoder, probed, task, n, criterion=criterion, generator=generator, places=places)
    assert floor is not None
    limits = criterion.limits(decoder.config.sites)
    return Evaluation(
        study=parts.name,
        epsilon=criterion.constant,
        metric=criterion.metric,
        n=n,
        seed=seed,
        sites={
            site: _rates(_row(samples, i), _row(floor, i), None if criterion.constant is not None else limit)
            for i, (site, limit) in enumerate(zip(decoder.config.sites, limits, strict=True))
        },
        mean=_rates(samples, floor),
        in_domain=float(samples.in_domain.mean()),
        accuracy=held_out_accuracy(probed, task, n=n, seed=seed),
        completeness=reached(parts, settings.cells, criterion, seed),
    )


def reached(parts: Parts, cells: int, criterion: Criterion, seed: int) -> Reach | None:
    """How much of exact preimages `REACH_DRAWS` samples at temperature 1 are expected to reach, over random cells.

    The mean over `cells` random queries, the sites in turn, each from up to `REACH_MEMBERS` of its members. None for no
    cells, or where the domain cannot be enumerated.
    """
    decoder, probed, task = _in_fast_type(parts), parts.probed, parts.task
    if cells < 1 or not counts_all(parts):
        return None
    generator = seeded(seed)
    queries = random_cells(task, decoder.config.sites, cells, parts.name, generator)
    chosen = []
    for truth in exact_sets(probed, task, queries, criterion):
        inside = truth.inside.nonzero()[0]
        pick = torch.randperm(len(inside), generator=generator)[:REACH_MEMBERS].numpy()
        chosen.append(np.sort(inside[pick]))
    shares: list[float] = []
    tokens = torch.cat(list(task.enumerate()))
    with stage("asking the decoder for members", sum(map(len, chosen))):
        for query, rows, z in zip(queries, chosen, query_activations(probed, task, queries), strict=True):
            members = tokens[torch.from_numpy(rows)]
            log_prior = task.log_prior(members).double().numpy()
            index = decoder.config.sites.index(query.site)
            drawn = chance_to_be_drawn(decoder, members.numpy(), log_prior, z, index, draws=[(1.0, REACH_DRAWS)])
            shares.append(float(np.average(drawn, weights=np.exp(log_prior))))
    error = float(np.std(shares, ddof=1) / np.sqrt(cells)) if cells > 1 else None
    return Reach(REACH_DRAWS, cells, float(np.mean(shares)), error)


def _in_fast_type(parts: Parts) -> Decoder:
    """The decoder with the same weights, computing in the machine's fast type.

    One draw in some hundreds is then another one, which moves a rate by a tenth of its standard error.
    """
    decoder = copy.copy(needed_decoder(parts))
    decoder.compute_dtype = fast_dtype(next(decoder.parameters()).device)
    return decoder


def held_out_accuracy(probed: ProbedModel, task: Task, *, n: int | None = None, seed: int = 0) -> float:
    """Exact match of the probed model's answers on distinct held-out inputs, of `n` draws or `ACCURACY_INPUTS`."""
    most = ACCURACY_INPUTS if n is None else min(n, ACCURACY_INPUTS)
    drawn = task.sample(most, generator=torch.Generator().manual_seed(seed), split="held-out")
    return exact_match(probed, task, torch.unique(drawn, dim=0))


def _row(hits: Hits, i: int) -> Hits:
    return Hits(*(mask[i : i + 1] for mask in hits))


def _rates(samples: Hits, floor: Hits, epsilon: float | None = None) -> Rates:
    """Rate, standard error and floor for each position rule, over one site or as the mean of several."""

    def rate(hits: Bool[np.ndarray, "site query"], random: Bool[np.ndarray, "site query"]) -> Rate:
        share = mean_share(hits)
        return Rate(share.rate, share.se, mean_share(random).rate)

    return Rates(rate(samples.any, floor.any), rate(samples.same, floor.same), epsilon)
