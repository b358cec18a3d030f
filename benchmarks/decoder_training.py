"""How much of the machine's matrix rate the training of a decoder uses, where the rest goes, and its peak memory.

The ratio is the matmul FLOPs of the decoder (`flops.py`) per second of wall time, over the best rate at which this
machine multiplies large square matrices in either dtype with the same threads, in the same run. Wall time is that of
whole steps of the real loop: making the batch, which runs the probed model, forward, backward, optimisers, logging; and
the share of a step in what happens only now and then, the in-ε rates that re-weight the sites and the checkpoints. The
steps are of the kind that makes up most of a run: the first few hundred train longer rows, and would flatter.

The optimiser is set beside `torch.optim.Muon`, which updates every matrix at every step in five rounds, as ours once
did: by the time that each takes for the same gradients, in turn, in one run. What is learned per step is not compared.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch

from benchmarks.common import ON_CPU, ROOT, Row, addition_model
from benchmarks.flops import training_flops
from inversionview.criterion import Criterion
from inversionview.decoder.training import Batch, DecoderObjective, make_decoder
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.recipes import DECODER_RECIPES, Budget, DecoderRecipe, decoder_recipe
from inversionview.tasks import get_task
from inversionview.training import train
from inversionview.training.optimizers import Muon
from inversionview.training.precision import computing_in, matmul_rate

WARM_UP, MEASURED, PROFILED, TIMED_UPDATES = 40, 80, 10, 6
SIZES = (1024, 2048, 4096)
TARGET_RATIO, TARGET_GIGABYTES = 0.30, 1.2

KINDS = {
    "matrix products of linear layers": ("mm", "addmm", "linear", "mkldnn_linear", "matmul"),
    "matrix products of attention": ("bmm", "baddbmm"),
    "softmax and loss": ("softmax", "log_softmax", "nll_loss"),
    "norms": ("layer_norm",),
    "copies and casts": ("copy_", "clone", "cat", "_to_copy", "contiguous", "pad", "fill_", "zero_", "narrow"),
    "lookups": ("embedding", "index", "gather", "scatter", "select", "slice", "split", "repeat"),
    "element-wise": ("add", "sub", "mul", "div", "gelu", "sin", "cos", "neg", "sum", "masked_fill", "triu", "where"),
}
"""Kinds of work by the names of torch's operators, without suffixes such as `_backward`; the first that fits counts."""


class Ceiling(NamedTuple):
    """The best rate of square matrix products, and where it was reached."""

    rate: float
    dtype: str
    size: int


class Updates(NamedTuple):
    """Median seconds of a step of two optimisers of the weight matrices."""

    ours: float
    torchs: float


class Steps(NamedTuple):
    """What was measured over whole steps of the loop."""

    seconds: float
    """A step, with its share of what happens now and then."""
    flops: float
    """A step."""
    parts: dict[str, float]
    """Seconds a step by part of the loop."""
    batch_size: int


@dataclass
class CountingObjective(DecoderObjective):
    """The decoder's objective, which also counts the operations of every step."""

    flops: dict[int, int] = field(default_factory=dict)

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Batch:
        made = super().batch(step, size=size, rank=rank, world=world)
        self.flops[step] = training_flops(self.module.config, made.ragged)
        return made


class Recorder:
    """A logger that keeps what the loop says."""

    def __init__(self) -> None:
        self.logged: dict[int, dict[str, float]] = {}

    def log(self, step: int, total_steps: int | None, values: Mapping[str, float]) -> None:
        self.logged[step] = dict(values)

    def close(self) -> None:
        pass


def run(*, quick: bool = False) -> list[Row]:
    """The ratio, where the time goes, and the peak memory."""
    sizes = SIZES[:1] if quick else SIZES
    warm_up, measured = (2, 2) if quick else (WARM_UP, MEASURED)
    before = ceiling(sizes)
    objective, plan = make_objective()
    steps = measure(objective, plan, warm_up, measured)
    profile = kinds_of_work(objective, plan, 1 if quick else PROFILED)
    updates = updates_seconds(objective, plan, 1 if quick else TIMED_UPDATES)
    best = max(before, ceiling(sizes))
    return [
        _ratio(steps, best, objective),
        *_shares(steps),
        _updates_row(updates, steps),
        *_profile_rows(profile),
        peak_memory_row(quick=quick),
    ]


def ceiling(sizes: tuple[int, ...] = SIZES) -> Ceiling:
    """The best rate over sizes and dtypes, with the threads that torch uses now."""
    ceilings = []
    for name in ("float32", "bfloat16"):
        for size in sizes:
            rate = matmul_rate(getattr(torch, name), "cpu", size, seconds=0.5)
            ceilings.append(Ceiling(rate, name, size))
            if rate < 0.3 * max(ceilings).rate:
                break  # no instructions for this dtype here: larger sizes would only take minutes
    return max(ceilings)


def make_objective() -> tuple[CountingObjective, DecoderRecipe]:
    """What the recipe for addition trains, for the paper's sites."""
    from inversionview.studies.training_runs import default_sites

    plan = decoder_recipe("addition")(Budget(), 0)
    probed = ProbedModel.from_pretrained(addition_model()[0], convention=plan.convention, device="cpu")
    task = get_task(plan.task)
    sites = [Site.parse(site) for site in default_sites(probed, plan.kinds)]
    decoder = make_decoder(probed, task, sites, **plan.decoder)
    data = dataclasses.replace(plan.data, full_steps=0)
    return CountingObjective(decoder, probed, task, data), plan


def measure(objective: CountingObjective, plan: DecoderRecipe, warm_up: int, measured: int) -> Steps:
    """Train with the recipe's own settings, and time the steps after the warm-up."""
    config = dataclasses.replace(plan.training, minutes=None, steps=warm_up + measured, log_every=warm_up)
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        result = train(objective, config, Path(folder) / "run", logger=recorder)
    first, last = recorder.logged[warm_up], recorder.logged[warm_up + measured]
    seconds = (last["seconds"] - first["seconds"]) / measured
    parts = {
        name.removeprefix("share_"): (last[name] * last["seconds"] - first[name] * first["seconds"]) / measured
        for name in last
        if name.startswith("share_")
    }
    now_and_then = {
        "in-ε rates": _rates_seconds(objective, plan) / max(1, plan.data.reweight_every),
        "checkpoints": seconds * result.shares["checkpoint"] * result.seconds / config.checkpoint_every_seconds,
    }
    total = seconds + sum(now_and_then.values())
    parts |= now_and_then
    counted = [objective.flops[step] for step in range(warm_up, warm_up + measured)]
    return Steps(total, sum(counted) / measured, parts, config.batch_size)


def kinds_of_work(objective: CountingObjective, plan: DecoderRecipe, steps: int) -> dict[str, float]:
    """Share of each kind of work in forward and backward, by torch's profiler, which slows the smallest operators."""
    decoder = objective.module
    batches = [objective.batch(step, size=plan.training.batch_size) for step in range(steps + 1)]

    def forward_backward(batch: Batch) -> None:
        with computing_in(decoder.compute_dtype, decoder, torch.device("cpu")):
            loss = objective.loss(decoder, batch)
        loss.backward()

    forward_backward(batches[0])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for batch in batches[1:]:
            forward_backward(batch)
    spent = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in profiler.key_averages():
        spent[_kind(event.key)] += event.self_cpu_time_total
    decoder.zero_grad()
    return {kind: seconds / sum(spent.values()) for kind, seconds in spent.items()}


def updates_seconds(objective: CountingObjective, plan: DecoderRecipe, rounds: int) -> Updates:
    """Time both optimisers on the gradients of one batch, in turn, at a rate that leaves the weights as they are."""
    decoder = objective.module
    objective.loss(decoder, objective.batch(0, size=plan.training.batch_size)).backward()
    matrices = decoder.matrix_parameters()
    every = plan.training.matrices_every
    ours = Muon(matrices, lr=0.0, weight_decay=0.0, every=every, dtype=decoder.compute_dtype)
    torchs = torch.optim.Muon(matrices, lr=0.0, weight_decay=0.0)
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(1 + every * rounds):  # the first ones make the state
        for is_ours, optimizer in ((True, ours), (False, torchs)):
            ours.turn = turn
            start = perf_counter()
            optimizer.step()
            times[is_ours].append(perf_counter() - start)
    decoder.zero_grad()
    # Steps of one turn cost what those of another do not: the median of each, then their mean.
    by_turn = [statistics.median(times[True][1 + turn :: every]) for turn in range(every)]
    return Updates(statistics.mean(by_turn), statistics.median(times[False][1:]))


def peak_memory_row(*, quick: bool = False) -> Row:
    """Peak resident memory of a process that does all that a long training run does, once or more."""
    command = [sys.executable, "-m", "benchmarks.decoder_training", "--peak-memory", "4" if quick else "60"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ON_CPU, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the training run whose memory was to be measured failed: {done.stderr[-2000:]}")
    peak = json.loads(done.stdout.splitlines()[-1])
    return {
        "name": "decoder training, peak resident memory",
        "value": peak["bytes"] / 1e9,
        "unit": "GB",
        "target": TARGET_GIGABYTES,
        "detail": f"{peak['steps']} steps at the default size, rates and checkpoints included; "
        f"{peak['bytes_before'] / 1e9:.2f} GB of it before the run starts",
    }


def train_for_memory(steps: int) -> dict[str, int]:
    """Train by the recipe with its periodic work brought forward, and give the peak memory of this process in bytes."""
    from inversionview.studies.training_runs import train_decoder

    ordinary, before = DECODER_RECIPES["addition"], peak_bytes()

    def hurried(budget: Budget, seed: int) -> DecoderRecipe:
        plan = ordinary(budget, seed)
        data = dataclasses.replace(plan.data, reweight_every=max(1, steps // 2))
        training = dataclasses.replace(plan.training, checkpoint_every_seconds=2.0)
        return dataclasses.replace(plan, data=data, training=training)

    DECODER_RECIPES["addition"] = hurried
    with tempfile.TemporaryDirectory() as folder:
        train_decoder("addition", Path(folder) / "run", model=addition_model()[0], budget=Budget(steps=steps))
    return {"bytes": peak_bytes(), "bytes_before": before, "steps": steps}


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a process that was started by a larger one is the larger one's
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else 1024 * highest


def _rates_seconds(objective: CountingObjective, plan: DecoderRecipe) -> float:
    """Seconds of one measurement of the in-ε rates, as the run makes it."""
    assert isinstance(plan.epsilon, float)
    start = perf_counter()
    in_epsilon(
        objective.module,
        objective.probed,
        objective.task,
        plan.rate_queries,
        criterion=Criterion.parse(plan.epsilon, plan.metric),
        generator=torch.Generator().manual_seed(0),
        floor=False,
        split="train",
    )
    return perf_counter() - start


def _ratio(steps: Steps, best: Ceiling, objective: CountingObjective) -> Row:
    rate = steps.flops / steps.seconds
    dtype = str(objective.module.compute_dtype).removeprefix("torch.")
    return {
        "name": "decoder training, matmul FLOPs over the machine's best",
        "value": rate / best.rate,
        "unit": "of the best rate",
        "target": TARGET_RATIO,
        "sense": "at least",
        "detail": f"{rate / 1e9:,.1f} of {best.rate / 1e9:,.1f} GFLOP/s ({best.dtype}, {best.size} x {best.size}), "
        f"{steps.flops / 1e9:.2f} GFLOP and {1e3 * steps.seconds:.1f} ms a step, "
        f"batch {steps.batch_size}, {steps.batch_size / steps.seconds:,.0f} instances/s, computed in {dtype}, "
        f"{torch.get_num_threads()} threads",
    }


def _updates_row(updates: Updates, steps: Steps) -> Row:
    before = steps.seconds - updates.ours + updates.torchs
    return {
        "name": "decoder training, a step over the same with torch.optim.Muon",
        "value": steps.seconds / before,
        "unit": "of its wall time",
        "detail": f"updates of the matrices {1e3 * updates.ours:.1f} ms, {updates.ours / steps.seconds:.0%} of a step; "
        f"by torch.optim.Muon {1e3 * updates.torchs:.1f} ms, {updates.torchs / before:.0%}",
    }


def _shares(steps: Steps) -> list[Row]:
    rows = sorted(steps.parts.items(), key=lambda item: -item[1])
    return [
        {"name": f"decoder training, share of {part}", "value": seconds / steps.seconds, "unit": "of wall time"}
        for part, seconds in rows
        if seconds / steps.seconds >= 0.001
    ]


def _profile_rows(profile: dict[str, float]) -> list[Row]:
    rows = sorted(profile.items(), key=lambda item: -item[1])
    return [
        {"name": f"decoder training, {kind}", "value": share, "unit": "of forward and backward (profiled)"}
        for kind, share in rows
    ]


def _kind(operator: str) -> str:
    name = operator.removeprefix("aten::").removeprefix("native_").removeprefix("_")
    for kind, starts in KINDS.items():
        if name in starts or name.rstrip("_") in starts or any(name.startswith(f"{start}_") for start in starts):
            return kind
    return "other"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak-memory"]:
        print(json.dumps(train_for_memory(int(sys.argv[2]))))
    else:
        from benchmarks.run import main

        main(["decoder_training", *sys.argv[1:]])
