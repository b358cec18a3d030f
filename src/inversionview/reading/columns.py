"""Features of the task as columns beside the candidates of a preimage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from inversionview.reading.information import chosen_features, own_value
from inversionview.results.preimage import Preimage
from inversionview.results.reading import Column
from inversionview.tasks.base import Task


def with_features(preimage: Preimage, task: Task, names: Sequence[str]) -> Preimage:
    """The same preimage with a column for each of these features of `task`, in place of the columns it had.

    Features that ask for a position get each candidate's own. Raises `UserError` that names the features there are.
    """
    features = chosen_features(task, list(dict.fromkeys(names)))
    rows = np.flatnonzero(preimage.in_domain & (preimage.positions >= 0))
    tokens, positions = (torch.from_numpy(part[rows]).long() for part in (preimage.tokens, preimage.positions))
    columns = []
    for feature in features:
        codes = np.full(len(preimage), -1)
        codes[rows] = feature.compute(tokens, positions).numpy()
        columns.append(Column(feature.name, feature.values, codes, own_value(feature, preimage.query)))
    return dataclasses.replace(preimage, columns=tuple(columns))
