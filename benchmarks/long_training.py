"""Studies that take a quarter of an hour or more to train: trained once, kept in `runs`, and gone on with when stopped.

Each is made by `inversionview train`, in a process of its own, by the command that is printed. A study that is there
already, made by the same command before or elsewhere, is taken as it is: what is told of it is what it says of its own
run.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from benchmarks.common import ON_CPU, ROOT, RUNS, Row
from inversionview.decoder.places import make_places
from inversionview.preimage.epsilon.calibration import site_epsilons
from inversionview.preimage.estimates.rates import Hits, in_epsilon, mean_share
from inversionview.seeds import seeded
from inversionview.studies.description import FILE, TRAINING, read_description
from inversionview.studies.parts import needed_decoder
from inversionview.studies.study import Study, load_study
from inversionview.training import has_checkpoint, saved_config

THREADS = 2


@dataclass(frozen=True)
class LongRun:
    """A study to train."""

    name: str
    """Of its folder in `runs`."""
    arguments: Sequence[str]
    """Of `inversionview train`, but for the folder and the length."""
    length: Sequence[str]
    """`--minutes`, or `--steps`, and how many."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return RUNS / self.name

    def command(self, folder: Path) -> list[str]:
        """What trains it, or goes on with it where it was stopped."""
        if has_checkpoint(folder / TRAINING):
            return ["train", "--resume", "--out", str(folder)]
        return ["train", *self.arguments, "--out", str(folder), *self.length, "--seed", "0"]


QUICK = ("--steps", "3")


class Pace(NamedTuple):
    """What a run came to."""

    activations: float
    """A second, over the whole run: loading, captures and ε among it."""
    seconds: float
    steps: int
    minutes: float | None
    """That it was told to take."""
    shares: dict[str, float]

    def told(self) -> str:
        """In words."""
        spent = ", ".join(f"{part} {share:.0%}" for part, share in self.shares.items() if share >= 0.01)
        asked = "" if self.minutes is None else f" of {self.minutes:g} minutes asked for"
        return f"{self.steps:,} steps in {self.seconds:,.0f} s{asked} ({spent})"


class Measured(NamedTuple):
    """In-ε rates of a study's sites on held-out inputs."""

    sites: tuple[str, ...]
    samples: Hits
    floor: Hits
    positions: Int[np.ndarray, "site query"]

    def rates(self, rule: str) -> Float[np.ndarray, " site"]:
        """Of each site."""
        rates: np.ndarray = getattr(self.samples, rule).mean(axis=1)
        return rates

    def floors(self, rule: str) -> Float[np.ndarray, " site"]:
        """Of each site, by random inputs."""
        floors: np.ndarray = getattr(self.floor, rule).mean(axis=1)
        return floors

    def said(self, rule: str) -> str:
        """Each site with its floor, the best first."""
        rows = zip(self.sites, self.rates(rule), self.floors(rule), strict=True)
        return ", ".join(f"{site} {rate:.3f} ({floor:.3f})" for site, rate, floor in sorted(rows, key=lambda r: -r[1]))

    def by_position(self, rule: str) -> str:
        """Each position's rate over all sites, with its floor."""
        hits, floors = getattr(self.samples, rule), getattr(self.floor, rule)
        rows = []
        for position in np.unique(self.positions):
            there = self.positions == position
            rows.append(f"{position}: {hits[there].mean():.3f} ({floors[there].mean():.3f})")
        return ", ".join(rows)


@contextmanager
def trained(run: LongRun, *, quick: bool = False) -> Iterator[Study]:
    """The study, trained where that was not done before or not to its end; `quick` keeps nothing."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / run.name if quick else run.folder
        train(run, folder)
        yield load_study(folder, device="cpu")


def train(run: LongRun, folder: Path) -> None:
    """Train it, where that was not done; what goes wrong there is an error here."""
    if is_trained(folder):
        return
    command = run.command(folder)
    print(f"inversionview {shlex.join(command)}", file=sys.stderr, flush=True)
    if code := in_a_process(command):
        raise RuntimeError(f"inversionview {shlex.join(command)} ended with {code}")


def in_a_process(command: Sequence[str]) -> int:
    """The exit code of a command of the library, in a process of its own with two threads and no GPU."""
    threads = {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)} | ON_CPU
    return subprocess.run(
        [sys.executable, "-m", "inversionview", *command], cwd=ROOT, env=os.environ | threads
    ).returncode


def is_trained(folder: Path) -> bool:
    """Whether there is a study whose training has come to its end."""
    return (folder / FILE).is_file() and read_description(folder).decoder is not None


def pace(study: Study) -> Pace:
    """What the study's training came to, by its own log."""
    assert study.folder is not None
    training = study.folder / TRAINING
    lines = [json.loads(line) for line in (training / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    config, last = saved_config(training), next(line for line in reversed(lines) if "seconds" in line)
    shares = {name.removeprefix("share_"): share for name, share in last.items() if name.startswith("share_")}
    steps, seconds = int(last["step"]), last["seconds"]
    return Pace(steps * config.batch_size / seconds, seconds, steps, config.minutes, shares)


def measure(study: Study, n: int) -> Measured:
    """One sample for each of `n` held-out inputs a site, at the ε that the study was trained with."""
    parts = study.parts
    decoder, sites = needed_decoder(parts), needed_decoder(parts).config.sites
    criterion = site_epsilons(study.criterion, sites, probed=study.probed, task=study.task)
    places = make_places(parts.read, study.probed, study.task, [study.probed.site(site) for site in sites])
    samples, floor, positions = in_epsilon(
        decoder, study.probed, study.task, n, criterion=criterion, generator=seeded(1), places=places
    )
    assert floor is not None
    return Measured(sites, samples, floor, positions)


def mean_row(name: str, measured: Measured, rule: str, target: float) -> Row:
    """The mean rate over sites."""
    rates, floors = measured.rates(rule), measured.floors(rule)
    n, error = measured.samples.any.shape[1], mean_share(getattr(measured.samples, rule)).se
    other = "any" if rule == "same" else "same"
    return {
        "name": f"{name}, in-ε rate (rule {rule}), mean", "value": float(rates.mean()), "unit": "of samples",
        "target": target, "sense": "at least",
        "detail": f"{len(rates)} sites, {n} held-out inputs each, standard error {error:.4f}, floor "
        f"{floors.mean():.3f}; rule {other} {measured.rates(other).mean():.3f} (floor "
        f"{measured.floors(other).mean():.3f}); in the domain {measured.samples.in_domain.mean():.3f}",
    }  # fmt: skip


def least_row(name: str, measured: Measured, rule: str, target: float | None) -> Row:
    """The lowest rate of a site, with all of them."""
    rates = measured.rates(rule)
    row: Row = {
        "name": f"{name}, in-ε rate (rule {rule}), least", "value": float(rates.min()), "unit": "of samples",
        "detail": f"with its floor: {measured.said(rule)}",
    }  # fmt: skip
    return row if target is None else {**row, "target": target, "sense": "at least"}


def main(only_train: Callable[[], None], name: str) -> None:
    """Only train, with `--train`; else the benchmark."""
    if sys.argv[1:] == ["--train"]:
        only_train()
        return
    from benchmarks.run import main as benchmark

    benchmark([name, *sys.argv[1:]])
