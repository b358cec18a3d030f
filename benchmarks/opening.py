"""How long it takes until something can be asked of a language model, against `from_pretrained` of the same folder.

Both load the model and its tokenizer, in turn, from a file that the system holds in memory. transformers maps weights
and reads none of them before a forward, so the denominator is small: the rows say what the model takes, what the domain
takes on top of it, and how long the first forward, with the self-check before it, then is.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.common import Row, smollm2
from inversionview.probed.gguf import converted
from inversionview.probed.model import ProbedModel
from inversionview.probed.places import place_of
from inversionview.studies.study import open_study

ROUNDS, TARGET_RATIO = 7, 1.2


def run(quick: bool = False) -> list[Row]:
    """Ratios to transformers' own loading, and seconds until the first activation."""
    folder = folder_of_model(quick=quick)

    def theirs() -> None:
        AutoModelForCausalLM.from_pretrained(folder)
        AutoTokenizer.from_pretrained(folder)

    jobs: dict[str, Callable[[], object]] = {
        "from_pretrained": theirs,
        "opening a model": lambda: ProbedModel.from_pretrained(folder, device="cpu"),
        "opening IOI in a model": lambda: open_study("ioi", model=folder, device="cpu"),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(2 if quick else ROUNDS):
        for name, job in jobs.items():
            times[name].append(_seconds(job))
    base = times.pop("from_pretrained")
    detail = f"{folder.name}, from_pretrained {statistics.median(base):.2f} s, median of {len(base)} rounds"
    rows: list[Row] = [
        {"name": name, "value": statistics.median(mine / their for mine, their in zip(seconds, base, strict=True)),
         "target": TARGET_RATIO, "unit": "x from_pretrained", "detail": detail}
        for name, seconds in times.items()
    ]  # fmt: skip
    probed = ProbedModel.from_pretrained(folder, device="cpu")
    first = _seconds(lambda: probed.capture(torch.zeros(1, 8, dtype=torch.long), "x0.post"))
    rows.append({"name": "first activation, self-check included", "value": first, "unit": "s", "detail": folder.name})
    return rows


def folder_of_model(*, quick: bool) -> Path:
    """SmolLM2-135M, converted from GGUF where it is that; to try it out, the bundled model of sentences."""
    if quick:
        from inversionview.studies.description import PROBED, bundled_studies

        return bundled_studies()["ioi-small"] / PROBED
    place = place_of(smollm2())
    return place if place.is_dir() else converted(place, None, readable=True)


def _seconds(job: Callable[[], object]) -> float:
    gc.collect()  # models of earlier rounds would else be freed while a later one is timed
    start = perf_counter()
    job()
    return perf_counter() - start
