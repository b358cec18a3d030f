"""Run the benchmarks, print every number beside its target, and write them to `benchmarks/results`.

`make bench` runs all but those of `LONG`, which take a quarter of an hour or more each and run when they are named;
`python -m benchmarks.run capture read` runs some; `--quick` only tries whether they run, and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from inspect import signature
from pathlib import Path

from benchmarks.common import ROOT, Row, describe_machine, verdict
from inversionview.files import write_atomic, write_json

NAMES = (
    "opening",
    "capture",
    "bank",
    "map",
    "read",
    "exact",
    "explain",
    "patching",
    "decoder_training",
    "time_to_quality",
    "reach",
    "text_training",
    "viewer",
)
LONG = ("published", "real_decoder", "text_decoder", "addition_decoder")
"""What they train is kept in `runs`, and not trained again; a benchmark that was stopped goes on."""
RESULTS = ROOT / "benchmarks" / "results"


def main(args: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a benchmark failed to run. A missed target is said, and is not a failure."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}, by default; or of {', '.join(LONG)}"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    options = parser.parse_args(args)
    if unknown := sorted(set(options.names) - {*NAMES, *LONG}):
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join((*NAMES, *LONG))}")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # before transformers is imported
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    machine = describe_machine()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    rows, failed = _run(options.names or NAMES, quick=options.quick)
    if not options.quick and rows:
        for path in write(options.out, machine, rows, options.names):
            print(f"wrote {path}")
    print(f"failed: {', '.join(failed)}" if failed else "all ran")
    return 1 if failed else 0


def write(
    folder: Path, machine: dict[str, str | int | float | bool], rows: Sequence[Row], names: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write the numbers as JSON and as a page, named after the day, the machine, and `names` where only some ran."""
    now = datetime.now(UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']} {machine['cores']} cores".lower()).strip("-")
    stem = folder / "-".join([f"{now:%Y-%m-%d}-{slug}", *names])
    folder.mkdir(parents=True, exist_ok=True)
    json_path, page_path = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".md")
    write_json(json_path, {"schema": 1, "date": f"{now:%Y-%m-%d %H:%M} UTC", "machine": machine, "rows": list(rows)})
    write_atomic(page_path, page(f"{now:%Y-%m-%d}", machine, rows))
    return json_path, page_path


def page(date: str, machine: dict[str, str | int | float | bool], rows: Sequence[Row]) -> str:
    """The numbers as Markdown."""
    lines = [f"# Benchmarks, {date}", "", *(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items())]
    lines += ["", "| what | measured | target | | |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join((row['name'], _measured(row), _target(row), verdict(row), row.get('detail', '')))} |"
              for row in rows]  # fmt: skip
    return "\n".join(lines) + "\n"


def _run(names: Sequence[str], *, quick: bool) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    failed = []
    for name in names:
        print(f"\n{name}", flush=True)
        try:
            measured = _call(import_module(f"benchmarks.{name}").run, quick=quick)
        except Exception:  # the others' numbers are not to be lost
            traceback.print_exc()
            failed.append(name)
            continue
        for row in measured:
            print(_line(row), flush=True)
        rows += measured
    return rows, failed


def _call(function: Callable[..., list[Row]], *, quick: bool) -> list[Row]:
    return function(quick=quick) if "quick" in signature(function).parameters else function()


def _line(row: Row) -> str:
    target = f"({_target(row)}: {verdict(row)})" if "target" in row else ""
    return "  ".join(
        part for part in (f"{row['name']:62}", f"{_measured(row):24}", target, row.get("detail", "")) if part
    )


def _measured(row: Row) -> str:
    return f"{row['value']:.3g} {row['unit']}" if row["value"] < 100 else f"{row['value']:,.0f} {row['unit']}"


def _target(row: Row) -> str:
    return f"{row.get('sense', 'at most')} {row['target']:g}" if "target" in row else ""


if __name__ == "__main__":
    raise SystemExit(main())
