"""The command `evaluate`."""

from __future__ import annotations

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import json_option, seed_option
from inversionview.cli.output import print_json


@click.command()
@click.argument("study")
@click.option("-n", "n", type=int, default=2000, show_default=True, help="Held-out queries a site.")
@click.option("--cells", type=int, default=13, show_default=True, help="Random queries for completeness; 0 for none.")
@seed_option
@json_option
def evaluate(study: str, n: int, cells: int, seed: int, as_json: bool) -> None:
    """Measure a decoder, beside its floor, and its probed model.

    The in-ε rate is how often one sample at temperature 1 is a member of the preimage it was drawn for; the floor is
    how often a random input of the domain is. Completeness is how much of an exact preimage 1,000 samples are expected
    to reach.
    """
    from rich.console import Console

    from inversionview.report.terminal import render_evaluation_terminal

    found = open_for(study).evaluate(n, cells=cells, seed=seed)
    if as_json:
        print_json(found)
    else:
        render_evaluation_terminal(found, Console())  # type: ignore[arg-type]
