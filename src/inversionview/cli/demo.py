"""The command `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FILE
from inversionview.cli.output import show, write_readings
from inversionview.progress import doing
from inversionview.studies import description

if TYPE_CHECKING:
    from inversionview.results.preimage import Preimage, Query
    from inversionview.studies.study import Study

FIRST = "addition"
"""The study of which a reading is shown where none is named."""
TRIED = 200
"""Inputs of each group whose activations are put into the query's run."""


@click.command()
@click.argument("study", type=click.Choice(list(description.bundled_studies())), required=False)
@click.option("--all", "all_", is_flag=True, help="Read one activation of each study, or with STUDY some of that.")
@click.option("--html", type=FILE, default="inversionview-report.html", show_default=True, help="The report to write.")
def demo(study: str | None, all_: bool, html: Path) -> None:
    """Read an activation of a bundled model, without training, and say whether the model uses it."""
    names = list(description.bundled_studies()) if all_ and study is None else [study or FIRST]
    preimages: list[Preimage] = []
    used = ""
    for number, name in enumerate(names, start=1):
        with doing(f"reading {name}, {number} of {len(names)} studies" if all_ else f"reading {name}"):
            opened = open_for(name)
            queries = _queries(opened)
            preimages += opened.preimages(queries if all_ and study else queries[:1])
            used = "" if all_ or not preimages else _used(opened, preimages[0])
    title = "What one activation of each bundled model knows" if len(names) > 1 else f"Readings of {names[0]}"
    write_readings(preimages, html, title)
    show(preimages)
    if used:
        click.echo(f"\n{used}")
    click.echo(f"\nThe same in a browser: {html}\n\nNext:")
    for advice in _NEXT:
        click.echo(f"  inversionview {advice}")


def _queries(study: Study) -> list[Query]:
    """What to look at first in a study, best first."""
    from inversionview.studies.examples import start_of

    start = start_of(study)
    return [] if start is None else [study.query(start.input, at, site) for site, at in start.places]


def _used(study: Study, preimage: Preimage) -> str:
    """A line on what the model does with the activation that was read."""
    from inversionview.causal.use import use
    from inversionview.report.causal import answer

    return answer(use(study.probed, study.task, preimage, n_members=TRIED, n_others=TRIED))


_NEXT = (
    "demo --all                                 # one activation of each bundled model",
    "serve addition counting                    # the viewer, in a browser",
    "map addition                               # what each site knows, in bits",
    "read addition 615+861=1476 --at = --site a0.3 --exact       # every member",
    'causal counting "vvzccvczvvvzvcvc|v:8" --at : --site m1     # is it used?',
    "read ioi SENTENCE --model FOLDER --at END --site a9.6       # a language model",
    "train addition --model FOLDER --out FOLDER # a decoder for a model of your own",
)
