"""A sample beside the exact preimage: what it reached, and how far its weighted features are from the truth."""

from __future__ import annotations

import numpy as np
import torch

from inversionview.errors import UserError
from inversionview.reading.information import chosen_features, feature_masses, total_variation
from inversionview.results.evaluation import Comparison
from inversionview.results.preimage import Preimage
from inversionview.tasks.base import Task


def compare(sample: Preimage, exact: Preimage, task: Task) -> Comparison:
    """Count what a sample found of an exact preimage of the same query.

    Raises `UserError` for preimages of different queries, ε, metrics or rules, or one that is not exact.
    """
    if not exact.exact:
        raise UserError("compare a sample with an exact preimage: use exact_preimage")
    for name in ("query", "epsilon", "metric", "position_rule"):
        if getattr(sample, name) != getattr(exact, name):
            raise UserError(f"the sample and the exact preimage differ in {name}: they must be of the same reading")
    mass = {row.tobytes(): weight for row, weight in zip(exact.tokens.astype(np.int64), exact.weights, strict=True)}
    if not mass:
        raise UserError("the exact preimage is empty: use a larger epsilon")
    members = [row.tobytes() for row in sample.tokens[sample.inside].astype(np.int64)]
    reached = [mass[row] for row in members if row in mass]
    return Comparison(len(reached) / len(mass), float(sum(reached)), _distances(sample, exact, task))


def _distances(sample: Preimage, exact: Preimage, task: Task) -> dict[str, float]:
    features = chosen_features(task)
    drawn, truth = (_masses(preimage, task) for preimage in (sample, exact))
    return {feature.name: total_variation(a, b) for feature, a, b in zip(features, drawn, truth, strict=True)}


def _masses(preimage: Preimage, task: Task) -> list[np.ndarray]:
    weights = np.nan_to_num(preimage.weights)
    rows = np.flatnonzero(weights > 0)
    tokens, positions = (torch.from_numpy(column[rows]).long() for column in (preimage.tokens, preimage.positions))
    return feature_masses(chosen_features(task), tokens, positions, weights[rows])
