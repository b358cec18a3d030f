"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.cli.options import FILE
from inversionview.cli.output import show, write_readings
from inversionview.studies.examples import DEMO


@click.command()
@click.argument("study", type=click.Choice([*DEMO, "all"]), default="all")
@click.option("--html", type=FILE, default="inversionview-report.html", show_default=True, help="The report to write.")
def demo(study: str, html: Path) -> None:
    """Read some activations of the bundled models, without training.

    Without STUDY, all of them are read.
    """
    from inversionview.studies.description import bundled_studies
    from inversionview.studies.study import load_study

    names = [name for name in DEMO if name in bundled_studies()] if study == "all" else [study]
    preimages = []
    for name in names:
        opened, (text, places) = load_study(name), DEMO[name]
        preimages += opened.preimage([opened.query(text, at, site) for site, at in places])
    write_readings(preimages, html, " and ".join(f"{DEMO[name][0]}, {name}" for name in names))
    show(preimages)
    click.echo(f"\nThe same in a browser: {html}\n\nNext:")
    for advice, about in _NEXT:
        click.echo(f"  inversionview {advice:82}{about}")


_NEXT = (
    ("serve addition counting", "the viewer: ask and compare in a browser"),
    ("read addition 615+861=1476 --at A1 --site x1.post", "another place of the same input"),
    ("read addition 615+861=1476 --at = --site a0.3 --exact", "every member, and how many there are"),
    ("map addition 615+861=1476", "what each site knows, in bits"),
    ("patch addition --target A1 --at = --sites a0.0,a0.2 --contrast change:F1,S1", "what the model uses"),
    ('causal counting "vvzccvczvvvzvcvc|v:8" --at : --site m1', "is it encoded, and is it used?"),
    ("map ioi-small", "what each site of a small language model knows"),
    ("evaluate addition", "how far to trust this decoder"),
    ("train addition --model FOLDER --out FOLDER", "a model of your own"),
)
