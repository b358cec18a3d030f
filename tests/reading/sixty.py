"""60 readings of a tiny model, sampled and exact, with what is said of their members."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from inversionview.criterion import Criterion
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import mixture
from inversionview.reading.information import preimage_bits
from inversionview.reading.patterns import with_patterns
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import decoder, few_sums, probed, query

AT, SITES = ("F2", "S1", "S3", "=", "A1", "A2"), ("a0.0", "a0.1", "x0.post", "x1.post")
CRITERION = Criterion.parse(0.4)


@functools.cache
def queries():
    """60 of them, fixed by a seed."""
    random, sums = np.random.default_rng(1), few_sums()
    return [
        query(
            sums.decode(sums.rows[random.integers(len(sums.rows))]), str(random.choice(AT)), str(random.choice(SITES))
        )
        for _ in range(60)
    ]


@functools.cache
def sampled() -> list[Preimage]:
    sources = mixture(decoder(), few_sums(), 600, (1.0, 2.0), prior_share=0.5)
    found = sampled_preimages(probed(), few_sums(), queries(), sources, criterion=CRITERION, seed=1)
    return [with_bits(one) for one in found]


@functools.cache
def exact() -> list[Preimage]:
    return [with_bits(one) for one in exact_preimages(probed(), few_sums(), queries(), criterion=CRITERION)]


def with_bits(preimage: Preimage) -> Preimage:
    known = dataclasses.replace(preimage, bits=tuple(preimage_bits(preimage, few_sums())))
    return with_patterns(known, few_sums())
