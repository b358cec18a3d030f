"""How long it takes to put an activation into words beside its reading, and a site of many activations as a whole."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

from benchmarks.common import Row

QUERIES = (("615+861=1476", "=", "a0.2"), ("234+567=801", "A1", "x1.post"), ("999+999=1998", "A4", "a1.1"))
SITE, AT, ACTIVATIONS = "a0.2", "=", 100
MOST_SECONDS, MOST_OF_SITE = 2.0, 60.0


def run(*, quick: bool = False) -> list[Row]:
    """Seconds beside an exact reading, and of a site."""
    from inversionview.studies.study import load_study

    study = load_study("addition", device="cpu")
    queries = [study.query(*query) for query in QUERIES[: 1 if quick else None]]
    study.exact_preimage(queries[0])  # what is set up once
    more, shares = [], []
    for query in queries:
        reading = _seconds(partial(study.exact_preimage, explain=False), query)
        with_words = _seconds(study.exact_preimage, query)
        more.append(with_words - reading)
        shares.append(with_words / reading)
    activations = 2 if quick else ACTIVATIONS
    of_site = _seconds(partial(study.explain_sites, [SITE], AT, queries=activations))
    threads = f"bundled addition study, all 810,000 inputs counted, {torch.get_num_threads()} threads"
    return [
        {"name": "words of an exact reading", "value": statistics.median(more), "unit": "s",
         "target": MOST_SECONDS, "sense": "at most",
         "detail": f"median of {len(more)}; {statistics.median(shares):.2f} times the reading without; {threads}"},
        {"name": f"explain a site, {activations} activations", "value": of_site, "unit": "s",
         "target": MOST_OF_SITE, "sense": "at most", "detail": threads},
    ]  # fmt: skip


def _seconds(work: Callable[..., object], *of: object) -> float:
    start = perf_counter()
    work(*of)
    return perf_counter() - start
