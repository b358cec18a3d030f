"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.cli.options import FILE
from inversionview.cli.output import show, write_readings
from inversionview.studies import description


@click.command()
@click.argument("study", type=click.Choice([*description.bundled_studies(), "all"]), default="all")
@click.option("--html", type=FILE, default="inversionview-report.html", show_default=True, help="The report to write.")
def demo(study: str, html: Path) -> None:
    """Read some activations of the bundled models, without training.

    Without STUDY, all of them are read.
    """
    from inversionview.studies.examples import start_of
    from inversionview.studies.study import load_study

    preimages, titles = [], []
    for name in description.bundled_studies() if study == "all" else [study]:
        opened = load_study(name)
        start = start_of(opened)
        if start is not None:
            preimages += opened.preimages([opened.query(start.input, at, site) for site, at in start.places])
            titles.append(f"{start.input}, {name}")
    write_readings(preimages, html, " and ".join(titles))
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
