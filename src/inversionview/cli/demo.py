"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FILE
from inversionview.cli.output import show, write_readings
from inversionview.progress import doing
from inversionview.studies import description

FIRST = ("addition", "ioi-small")
"""The studies of which a reading is shown where none is named: one of digits, one of text."""
SHOWN = 2
"""Readings in the terminal; the others are in the report."""


@click.command()
@click.argument("study", type=click.Choice([*description.bundled_studies(), "all"]), default="all")
@click.option("--html", type=FILE, default="inversionview-report.html", show_default=True, help="The report to write.")
def demo(study: str, html: Path) -> None:
    """Read some activations of the bundled models, without training.

    Of STUDY a few, and without it one of each. Two are shown, and the report has them all.
    """
    there = description.bundled_studies()
    named = sorted(there, key=lambda name: (name not in FIRST, name)) if study == "all" else [study]
    preimages, title = [], "What one activation of each bundled model knows"
    for number, name in enumerate(named, start=1):
        with doing(f"reading {name}, {number} of {len(named)} studies"):
            opened = open_for(name)
            from inversionview.studies.examples import start_of

            start = start_of(opened)
            if start is not None:
                places = start.places[:1] if study == "all" and len(named) > 1 else start.places
                preimages += opened.preimages([opened.query(start.input, at, site) for site, at in places])
                title = title if len(named) > 1 else f"{start.input}, {name}"
    write_readings(preimages, html, title)
    show(preimages[:SHOWN])
    if more := [f"{one.query.site} at {one.query.role} of {one.query.study}" for one in preimages[SHOWN:]]:
        click.echo(f"\nThe report has {', '.join(more)} too.")
    click.echo(f"\nThe same in a browser: {html}\n\nNext:")
    for advice in _NEXT:
        click.echo(f"  inversionview {advice}")


_NEXT = (
    "serve addition counting                    # the viewer, in a browser",
    "map addition                               # what each site knows, in bits",
    "read addition 615+861=1476 --at = --site a0.3 --exact       # every member",
    'causal counting "vvzccvczvvvzvcvc|v:8" --at : --site m1     # is it used?',
    "train addition --model FOLDER --out FOLDER # a model of your own",
)
