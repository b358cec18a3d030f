"""Preimages of every kind, of tiny models."""

from __future__ import annotations

import functools

from inversionview.criterion import Criterion
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import ladder, mixture
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import Fixed, decoder, few_sums, probed, query, rows, task, with_criterion


@functools.cache
def made(**changes) -> Preimage:
    sources = [
        *ladder(decoder(), 30, temperatures=(1.0, 2.0)),
        Fixed(rows("B615+861=1476E", "B615+861=1476E", "B615+860=1475E", "B100+100=200E", "B1E"), "given"),
    ]
    options = {"epsilon": 0.5, "seed": 3, "position_rule": "same"} | changes
    [found] = sampled_preimages(probed(), task(), [query(at="A4")], sources, **with_criterion(options))
    return found


@functools.cache
def exact(at: str = "=", **changes) -> Preimage:
    options = {"epsilon": 0.5, "position_rule": "same"} | changes
    [found] = exact_preimages(
        probed(), few_sums(tilt=0.5), [query("505+495=1000", at=at, site="a0.1")], **with_criterion(options)
    )
    return found


@functools.cache
def weighed() -> Preimage:
    """Drawn by sources whose densities are known, and by others; the query is a member that only those found."""
    task = few_sums(tilt=0.5)
    sources = [*mixture(decoder(), task, 400, (1.0, 2.0), prior_share=0.7), Fixed(task.rows[-90:], "given")]
    [found] = sampled_preimages(
        probed(), task, [query("505+495=1000", at="=", site="a0.1")], sources, criterion=Criterion.parse(0.5)
    )
    return found


def unknown() -> Preimage:
    """Drawn by a source of no known density."""
    task = few_sums()
    [found] = sampled_preimages(
        probed(),
        task,
        [query("500+990=1490", site="x0.post")],
        [Fixed(few_sums().rows[400:700], "given")],
        criterion=Criterion.parse(0.5),
    )
    return found
