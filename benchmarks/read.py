"""How long it takes to read an activation, and to be told how: a loaded study, and a fresh process for `--help`."""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.common import Row

CANDIDATES, HELP_RUNS, HELP_SECONDS, PROCESS_SECONDS = 1000, 7, 0.6, 4.5
QUERIES = (
    ("615+861=1476", "=", "a0.0"),
    ("234+567=801", "A1", "x1.post"),
    ("999+999=1998", "A4", "a1.1"),
    ("100+100=200", "+", "x0.post"),
    ("738+164=902", "A2", "x1.mid"),
    ("450+321=771", "S3", "a0.3"),
    ("862+915=1777", "A3", "a1.2"),
    ("506+707=1213", "F2", "x0.pre"),
)


def run(*, quick: bool = False) -> list[Row]:
    """Seconds a reading with the share of each stage, and seconds until help is there."""
    return [
        *_reading_rows(QUERIES[:2] if quick else QUERIES),
        _help_row(2 if quick else HELP_RUNS),
        *_process_rows(1 if quick else 5),
    ]


def _reading_rows(queries: tuple[tuple[str, str, str], ...]) -> list[Row]:
    from inversionview.studies.study import load_study

    study = load_study("addition")
    activations = [study.query(*query) for query in queries]
    _read(study, activations[0])  # loads the models, and pays for what is set up once
    spent = [_read(study, query) for query in activations]
    totals = [sum(stages.values()) for stages in spent]
    median = statistics.median(totals)
    detail = (
        f"median of {len(queries)} queries ({min(totals):.2f} to {max(totals):.2f}), bundled addition study, "
        f"terminal and HTML page both drawn, {torch.get_num_threads()} threads"
    )
    rows: list[Row] = [
        {"name": f"read, {CANDIDATES:,} candidates", "value": median, "unit": "s", "detail": detail},
    ]
    for stage in spent[0]:
        share = sum(stages[stage] for stages in spent) / sum(totals)
        rows.append({"name": f"read, share of {stage}", "value": share, "unit": "of the time of all readings"})
    return rows


def _read(study: Any, query: Any) -> dict[str, float]:
    """Seconds of each stage of one reading, drawn in both ways."""
    from inversionview.preimage import sampled
    from inversionview.reading import attribution

    spent = dict.fromkeys(("propose", "verify", "densities", "token colours", "terminal", "HTML page", "the rest"), 0.0)
    start = perf_counter()
    with (
        _timed(spent, "propose", sampled, "_draw"),
        _timed(spent, "verify", sampled, "_verify"),
        _timed(spent, "densities", sampled, "_densities"),
    ):
        preimage = study.preimage(query, n=CANDIDATES)
    with _timed(spent, "token colours", attribution, "token_colors"):  # made as they are drawn
        for name, draw in (("terminal", _in_terminal), ("HTML page", _as_page)):
            before = spent["token colours"]
            with _adding(spent, name):
                draw(preimage)
            spent[name] -= spent["token colours"] - before
    spent["the rest"] = perf_counter() - start - sum(spent.values())
    return spent


def _in_terminal(preimage: Any) -> None:
    from rich.console import Console

    from inversionview.report.terminal import render_terminal

    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="truecolor")
    render_terminal(preimage.to_reading(), console)


def _as_page(preimage: Any) -> None:
    preimage.to_html()


@contextmanager
def _timed(spent: dict[str, float], stage: str, module: Any, name: str) -> Iterator[None]:
    """Count the time of one function of a module as this stage's."""
    function: Callable[..., Any] = getattr(module, name)

    def timed(*args: Any, **options: Any) -> Any:
        with _adding(spent, stage):
            return function(*args, **options)

    with patch.object(module, name, timed):
        yield


@contextmanager
def _adding(spent: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    spent[stage] += perf_counter() - start


def _help_row(runs: int) -> Row:
    script = Path(sys.executable).with_name("inversionview")
    command = [str(script), "--help"] if script.exists() else [sys.executable, "-m", "inversionview", "--help"]
    seconds = []
    for _ in range(runs):
        start = perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(perf_counter() - start)
    return {
        "name": "inversionview --help, whole process",
        "value": statistics.median(seconds),
        "unit": "s",
        "target": HELP_SECONDS,
        "detail": f"median of {runs} ({min(seconds):.2f} to {max(seconds):.2f})",
    }


_IMPORTING = (
    "from inversionview.cli.program import cli; from inversionview.cli.waiting import importing\n"
    "with importing(): import inversionview.studies.study"
)
"""What `read` imports before it opens a study."""


def _process_rows(runs: int) -> list[Row]:
    """Seconds of `read` as a process, from its start to its end, and which share of them is imports."""
    text, at, site = QUERIES[0]
    reading = ["-m", "inversionview", "read", "addition", text, "--at", at, "--site", site]
    whole, imports, torch_alone = (
        [_process(command) for _ in range(runs)] for command in (reading, ["-c", _IMPORTING], ["-c", "import torch"])
    )
    wall, cpu = (statistics.median(column) for column in zip(*whole, strict=True))
    whole_row: Row = {
        "name": "read as a process",
        "value": wall,
        "unit": "s",
        "target": PROCESS_SECONDS,
        "detail": f"median of {runs} ({min(whole)[0]:.2f} to {max(whole)[0]:.2f}), {cpu:.2f} CPU seconds",
    }
    shares: list[Row] = [
        {
            "name": f"read as a process, share of {what}",
            "value": statistics.median(cpu for _, cpu in spent) / cpu,
            "unit": "of its CPU seconds",
        }
        for what, spent in (("imports", imports), ("torch's import alone", torch_alone))
    ]
    return [whole_row, *shares]


def _process(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of Python with these arguments."""
    start, before = perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = os.times()
    return perf_counter() - start, sum(after[2:4]) - sum(before[2:4])


if __name__ == "__main__":
    from benchmarks.run import main

    main(["read", *sys.argv[1:]])
