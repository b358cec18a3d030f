"""How good a study's decoder is, and how good the probed model is at its task."""

from __future__ import annotations

from typing import Any

import torch

from inversionview.decoder.model import Decoder
from inversionview.preimage.rates import Hits, in_epsilon, mean_share
from inversionview.probed.model import ProbedModel
from inversionview.studies.train_probed import exact_match
from inversionview.tasks import Task

ACCURACY_INPUTS = 20_000
"""Held-out inputs for the probed model's exact match, whose standard error is then at most 0.0035."""


def evaluation(
    study: str,
    decoder: Decoder,
    probed: ProbedModel,
    task: Task,
    n: int,
    *,
    epsilon: float,
    metric: str,
    seed: int,
) -> dict[str, Any]:
    """The document that `inversionview evaluate --json` prints; see `Study.evaluate`."""
    generator = torch.Generator().manual_seed(seed)
    samples, floor, _ = in_epsilon(decoder, probed, task, n, epsilon=epsilon, metric=metric, generator=generator)
    assert floor is not None
    rows = range(len(decoder.config.sites))
    return {
        "schema": 1,
        "study": study,
        "epsilon": epsilon,
        "metric": metric,
        "n": n,
        "seed": seed,
        "sites": {
            site: _rates(_row(samples, i), _row(floor, i)) for site, i in zip(decoder.config.sites, rows, strict=True)
        },
        "mean": _rates(samples, floor),
        "in_domain": float(samples.in_domain.mean()),
        "accuracy": held_out_accuracy(probed, task, seed=seed),
    }


def held_out_accuracy(probed: ProbedModel, task: Task, *, seed: int = 0) -> float:
    """Exact match of the probed model's answers on held-out inputs."""
    generator = torch.Generator().manual_seed(seed)
    return exact_match(probed, task, task.sample(ACCURACY_INPUTS, generator=generator, split="held-out"))


def _row(hits: Hits, i: int) -> Hits:
    return Hits(*(mask[i : i + 1] for mask in hits))


def _rates(samples: Hits, floor: Hits) -> dict[str, dict[str, float]]:
    """Rate, standard error and floor for each position rule, over one site or as the mean of several."""
    found = {}
    for rule in ("any", "same"):
        rate, random = mean_share(getattr(samples, rule)), mean_share(getattr(floor, rule))
        found[rule] = {"rate": rate.rate, "se": rate.se, "floor": random.rate}
    return found
