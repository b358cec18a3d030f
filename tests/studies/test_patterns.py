"""Shares of patterns in readings of the bundled studies, against exact preimages, for 60 queries fixed by a seed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import inversionview as iv
from inversionview.criterion import Criterion
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource
from inversionview.reading.patterns import with_patterns
from inversionview.results.preimage import Preimage
from inversionview.tasks.base import Task, restricted

QUERIES = 15
PLACES = {
    "addition": ("a0.2 =", "a0.3 =", "x0.post ="),
    "ioi-small": ("m1 END", "a1.3 END", "a0.3 END"),
    "facts-small": ("a0.1 END", "x0.post END", "a1.2 END"),
}


def has(preimage: Preimage, task: Task, words: str) -> np.ndarray:
    """Which inputs have a pattern: columns by a regular expression, features one by one."""
    if " = " not in words:
        pattern = re.compile(re.escape(words).replace("·", "."))
        return np.array([pattern.match(text) is not None for text in preimage.inputs])
    tokens, positions = torch.from_numpy(preimage.tokens).long(), torch.from_numpy(preimage.positions).long()
    members = np.ones(len(preimage), dtype=bool)
    for part in re.split(r", (?=[\w ]+ = )", words):
        name, value = part.split(" = ", 1)
        feature = task.features[name]
        members &= feature.compute(tokens, positions).numpy() == feature.values.index(value)
    return members


def inside(sample: Preimage, whole: Preimage, task: Task) -> list[bool]:
    """Of each pattern of a sample, whether its interval holds the exact share."""
    shares = [whole.weights[has(whole, task, pattern.words)].sum() for pattern in sample.patterns.found]
    ends = [pattern.interval for pattern in sample.patterns.found]
    return [low - 1e-9 <= share <= high + 1e-9 for share, (low, high) in zip(shares, ends, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_shares_are_within_their_intervals_of_the_exact_ones(name):
    study = iv.load_study(name)
    rows = study.task.sample(QUERIES, generator=torch.Generator().manual_seed(5))
    places = [PLACES[name][i % 3].split() for i in range(QUERIES)]
    queries = [study.query(study.task.decode(row), at, site) for row, (site, at) in zip(rows, places, strict=True)]
    samples, wholes = study.preimages(queries, n=1000, explain=False), study.exact_preimages(queries, explain=False)
    held = [one for pair in zip(samples, wholes, strict=True) for one in inside(*pair, study.task)]
    assert len(held) >= QUERIES / 2
    assert np.mean(held) >= 0.95


@pytest.mark.slow
def test_shares_of_a_part_of_counting_are_within_their_intervals_too():
    """Its domain cannot be enumerated: the parts that share their counts can, and are drawn from."""
    study = iv.load_study("counting")
    rows = study.task.sample(400, generator=torch.Generator().manual_seed(5))
    short = [row for row in rows if int((row < 26).sum()) in range(9, 13)][:QUERIES]
    held = []
    for i, row in enumerate(short):
        part = restricted(study.task, row, "counts")
        query = study.query(study.task.decode(row), "|", ("x0.post", "a0.0", "a1.0")[i % 3])
        [everything] = exact_preimages(study.probed, part, [query], criterion=Criterion.parse(1e9))
        whole = everything.at_epsilon(float(np.quantile(everything.distances, 0.1)) + 1e-6)
        criterion = Criterion.parse(whole.epsilon)
        [sample] = sampled_preimages(study.probed, part, [query], [PriorSource(part, 1000)], criterion=criterion)
        held += inside(with_patterns(sample, part), whole, part)
    assert len(short) == QUERIES
    assert len(held) >= QUERIES / 2
    assert np.mean(held) >= 0.95
