"""What a bank costs against plain Hugging Face forwards over the same inputs, and how long a search in one takes.

The bank holds all heads, residual streams and MLP outputs of SmolLM2-135M at END of IOI sentences. The plain forwards
are of the decoder stack alone (`model.model`, no logits, no key-value cache), in the same type of numbers, over the
same distinct sentences up to END, those of one length together, in the batch size that is fastest of several. Each
round times both over sentences of its own, so that what else the machine does meets both alike; the ratio is the
median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.common import ROOT, Row, smollm2

if TYPE_CHECKING:
    from inversionview.bank.plan import BankPlan
    from inversionview.studies.study import Study

KINDS = ("heads", "residual", "mlps")
INPUTS, ROUNDS, TRIED = 4000, 8, 250
BATCHES = (16, 28, 32, 64, 128)
TARGET_RATIO, TARGET_GB = 1.3, 3.0
SEARCHED = {4_000: 1.0, 100_000: 3.0}
"""Vectors, and seconds that a search among them may take."""
SEARCHES = 5


def run(*, quick: bool = False) -> list[Row]:
    """The ratio, the peak memory, and seconds of a search."""
    study = open_study(quick)
    each = 20 if quick else INPUTS // ROUNDS
    batch = best_batch(study, plan_of(study, 20 if quick else TRIED, seed=100))
    ratios, seconds = [], []
    for seed in range(2 if quick else ROUNDS):
        plan = plan_of(study, each, seed)
        mine, plain = bank_seconds(study, plan), plain_seconds(study, plan, batch)
        ratios.append(mine / plain)
        seconds.append(mine)
    detail = f"{sum(seconds):.1f} s for {each * len(seconds):,} inputs, {torch.get_num_threads()} threads, plain in "
    ratio: Row = {
        "name": "bank of all heads, residuals and MLPs at END, IOI",
        "value": statistics.median(ratios),
        "target": TARGET_RATIO,
        "unit": "x plain forwards",
        "detail": f"{detail}batches of {batch}, {min(ratios):.2f} to {max(ratios):.2f}, {study.probed.model.dtype}",
    }
    return [ratio, peak_row(quick=quick), *search_rows(study, quick=quick)]


def open_study(quick: bool) -> Study:
    """IOI in SmolLM2-135M; to try it out, the bundled small model."""
    from inversionview.studies.study import load_study, open_study

    if quick:
        return load_study("ioi-small", device="cpu")
    return open_study("ioi", model=smollm2(), convention="raw")


def plan_of(study: Study, n: int, seed: int) -> BankPlan:
    """A bank of all heads, residual streams and MLP outputs at END."""
    from inversionview.bank.plan import plan_bank

    sites = study.probed.select_sites(KINDS)
    return plan_bank(study.probed, study.task, sites=sites, roles=["END"], n=n, seed=seed)


def bank_seconds(study: Study, plan: BankPlan) -> float:
    """Of making a bank in memory."""
    from inversionview.bank.making import make_bank

    start = perf_counter()
    make_bank(study.probed, study.task, plan)
    return perf_counter() - start


@torch.no_grad()
def plain_seconds(study: Study, plan: BankPlan, batch: int) -> float:
    """Of the forwards alone."""
    decoder: Any = study.probed.model.get_decoder()
    lengths = plan.begun.lengths
    start = perf_counter()
    for length in lengths.unique().tolist():
        for tokens in plan.begun.tokens[lengths == length, :length].split(batch):
            decoder(input_ids=tokens, use_cache=False)
    return perf_counter() - start


def best_batch(study: Study, plan: BankPlan) -> int:
    """The batch size in which plain forwards are fastest."""
    plain_seconds(study, plan, BATCHES[0])  # warm up
    return min(BATCHES, key=lambda batch: plain_seconds(study, plan, batch))


def peak_row(*, quick: bool) -> Row:
    """The largest resident memory of a process that opens the model and makes the whole bank in memory."""
    command = [sys.executable, "-m", "benchmarks.bank", "--peak-memory", *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peak = json.loads(done.stdout.splitlines()[-1])
    return {
        "name": "bank, peak resident memory",
        "value": peak["bytes"] / 1e9,
        "target": TARGET_GB,
        "unit": "GB",
        "detail": f"{peak['inputs']:,} inputs, model and task included; the bank is {peak['bank_bytes'] / 1e9:.2f} GB",
    }


def search_rows(study: Study, *, quick: bool) -> list[Row]:
    """Seconds until the nearest 1,000 of a bank on disk are found, of a head and of a residual stream."""
    from inversionview.preimage.sources.banked import nearest

    rows: list[Row] = []
    for n, target in SEARCHED.items():
        for name in ("a1.0", "x1.post"):
            with tempfile.TemporaryDirectory() as folder:
                bank, site = random_bank(study, name, n // 100 if quick else n, Path(folder)), study.probed.site(name)
                z_q = bank.activations(site, "END", torch.tensor([3]))[0]
                times = []
                for _ in range(SEARCHES):
                    start = perf_counter()
                    nearest(bank, site, "END", z_q, 1000)
                    times.append(perf_counter() - start)
            rows.append(
                {
                    "name": f"bank, search among {n:,} of {name} on disk",
                    "value": max(times),
                    "target": target,
                    "unit": "s",
                    "detail": f"the slowest of {SEARCHES}, the first included; median {statistics.median(times):.3f} s",
                }
            )
    return rows


def random_bank(study: Study, name: str, n: int, folder: Path) -> Any:
    """A bank of one site on disk that holds random numbers: a search is as long whatever they are."""
    from inversionview.bank.bank import Bank
    from inversionview.bank.folder import SHARD_BYTES, FolderStore
    from inversionview.bank.plan import plan_bank
    from inversionview.files import write_tensors
    from inversionview.probed.coordinates import Coordinates

    plan = plan_bank(study.probed, study.task, sites=[name], roles=["END"], n=n)
    source = Coordinates(study.probed).source(study.probed.site(name))
    store = FolderStore(folder, len(plan.begun.tokens), max(1, SHARD_BYTES // plan.row_bytes))
    generator = torch.Generator().manual_seed(0)
    for index in store.shards:
        rows = store.rows_of(index)
        values = torch.randn(rows.stop - rows.start, study.probed.width(source), generator=generator)
        write_tensors(store.shard(index), {f"{source}@END": values})
    return Bank(study.probed, plan, store)


def main() -> None:
    """Make the bank once and print the peak memory of this process as JSON."""
    import resource

    parser = argparse.ArgumentParser()
    parser.add_argument("--peak-memory", action="store_true", required=True)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    study = open_study(quick)
    plan = plan_of(study, 40 if quick else INPUTS, seed=0)
    bank_seconds(study, plan)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"bytes": peak, "inputs": len(plan.tokens), "bank_bytes": plan.bytes}))


if __name__ == "__main__":
    main()
