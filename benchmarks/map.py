"""How long the map of IOI in SmolLM2-135M takes from nothing, the model being there, and what comes from its bank.

The study is opened, one bank of 4,000 sentences keeps all heads at END, and the map is made of it: what `inversionview
map ioi --model MODEL --at END --sites heads -n 4000` does. Then a bank of all sites gives a map of all of them, and
readings. The ratio is that of the whole way to the bank alone, which runs the model.
"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from benchmarks.bank import KINDS
from benchmarks.common import Row, smollm2

if TYPE_CHECKING:
    from inversionview.studies.study import Study

INPUTS, QUERIES, READINGS = 4000, 200, 5
TARGET_ALL, TARGET_MAP, TARGET_READING = 240.0, 60.0, 1.0
SENTENCE = "When Alice saw Paul in the garden, Paul gave the book to Alice."


def run(*, quick: bool = False) -> list[Row]:
    """Seconds to the map of the heads, of the map of all sites, and of a reading."""
    from inversionview.studies.banks import bank_for

    n, queries = (200, 20) if quick else (INPUTS, QUERIES)
    start = perf_counter()
    study = opened(quick)
    at_open = perf_counter()
    heads = study.probed.select_sites(["heads"])
    bank_for(study.parts, heads, ["END"], n=n)
    at_bank = perf_counter()
    study.map(at="END", sites=["heads"], n=n, queries=queries)
    done = perf_counter()
    whole: Row = {
        "name": "from nothing to the map of all heads at END, IOI",
        "value": done - start,
        "target": TARGET_ALL,
        "unit": "s",
        "detail": f"opening {at_open - start:.1f} s, bank of {n:,} {at_bank - at_open:.1f} s, map of {len(heads)} "
        f"heads {done - at_bank:.1f} s, {torch.get_num_threads()} threads, {study.probed.model.dtype}",
    }
    ratio: Row = {
        "name": "the whole way against its bank alone",
        "value": (done - start) / (at_bank - at_open),
        "unit": "x",
    }
    return [whole, ratio, *rows_of_all(study, n, queries)]


def opened(quick: bool) -> Study:
    """IOI in SmolLM2-135M; to try it out, the bundled small model."""
    from inversionview.studies.study import load_study, open_study

    return load_study("ioi-small", device="cpu") if quick else open_study("ioi", model=smollm2())


def rows_of_all(study: Study, n: int, queries: int) -> list[Row]:
    """Seconds of the map of all sites, and of readings, the bank being there."""
    from inversionview.studies.banks import bank_for

    sites = study.probed.select_sites(KINDS)
    bank_for(study.parts, sites, ["END"], n=n)
    start = perf_counter()
    study.map(at="END", sites=KINDS, n=n, queries=queries)
    mapped = perf_counter() - start
    site = str(sites[len(sites) // 2])
    seconds = []
    for number in range(READINGS):
        start = perf_counter()
        study.preimage(study.query(SENTENCE, "END", site), n, seed=number, colors=False)
        seconds.append(perf_counter() - start)
    return [
        {
            "name": f"map of {len(sites)} sites from a bank of {n:,}",
            "value": mapped,
            "target": TARGET_MAP,
            "unit": "s",
            "detail": f"{queries} queries a site, all features, ε of each site by null quantile from the same bank",
        },
        {
            "name": f"a reading from a bank of {n:,}",
            "value": statistics.median(seconds),
            "target": TARGET_READING,
            "unit": "s",
            "detail": f"{site} at END, median of {READINGS}, {min(seconds):.2f} to {max(seconds):.2f}",
        },
    ]
