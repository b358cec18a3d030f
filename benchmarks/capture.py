"""What capture costs against a plain forward of the same Hugging Face model, at batch 256, in one process.

The plain forward builds no key-value cache, which makes it the faster of the two it could be. Every round times each
of the things once, so that what else the machine does meets all of them alike; a ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from transformers import GPT2LMHeadModel, PreTrainedModel

from benchmarks.common import Row, addition_model
from inversionview.probed.model import ProbedModel

BATCH, LENGTH, ROUNDS, WARM_UP = 256, 14, 60, 5
HEADS = ("a0.0", "a0.1", "a0.2", "a0.3")
ALL = ("x0.pre", *HEADS, "x0.mid", "x0.post", "a1.0", "a1.1", "a1.2", "a1.3", "x1.mid", "x1.post")
TARGETS = {
    "heads of layer 0 at one position": 0.35,
    "x0.post at all positions": 0.55,
    "13 sites at all positions": 1.25,
}


def run() -> list[Row]:
    """Ratios to the plain forward, each beside its target (at most), for both conventions."""
    folder, which = addition_model()
    model: PreTrainedModel = GPT2LMHeadModel.from_pretrained(folder)
    model.eval()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.config.vocab_size, (BATCH, LENGTH), generator=generator)
    positions = torch.randint(0, LENGTH, (BATCH,), generator=generator)

    @torch.no_grad()
    def plain() -> object:
        return model(tokens, use_cache=False).logits

    jobs: dict[tuple[str, str], Callable[[], object]] = {("plain", ""): plain}
    for convention in ("raw", "tl"):
        probed = ProbedModel(model, convention=convention)
        heads, post, everything = ((name, convention) for name in TARGETS)
        jobs[heads] = partial(probed.capture, tokens, HEADS, positions)
        jobs[post] = partial(probed.capture, tokens, "x0.post")
        jobs[everything] = partial(probed.capture, tokens, ALL)
    times = _interleaved(jobs)
    base = times.pop(("plain", ""))
    detail = f"{which}, batch {BATCH}, {torch.get_num_threads()} threads, plain {1e3 * statistics.median(base):.1f} ms"
    return [
        {
            "name": f"capture, {name}, {convention}",
            "value": statistics.median(mine / plain for mine, plain in zip(seconds, base, strict=True)),
            "target": TARGETS[name],
            "unit": "x plain forward",
            "detail": detail,
        }
        for (name, convention), seconds in times.items()
    ]


def _interleaved(jobs: dict[tuple[str, str], Callable[[], object]]) -> dict[tuple[str, str], list[float]]:
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    for turn in range(WARM_UP + ROUNDS):
        for key, job in jobs.items():
            start = time.perf_counter()
            job()
            if turn >= WARM_UP:
                times[key].append(time.perf_counter() - start)
    return times
