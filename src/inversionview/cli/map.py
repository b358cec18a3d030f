"""The command `map`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import (
    FILE,
    epsilon_option,
    json_option,
    metric_option,
    model_options,
    names,
    seed_option,
)
from inversionview.cli.output import print_json, write_page


@click.command("map")
@click.argument("study")
@click.argument("input_", metavar="[INPUT]", required=False)
@epsilon_option
@metric_option
@click.option("--queries", type=int, default=100, show_default=True, help="Random inputs a cell, without INPUT.")
@click.option("--where", metavar="COND", help="Only inputs that meet a condition over features: 'C1 == \"no\"'.")
@click.option("--sites", help="Sites to map, separated by commas.  [default: the study's]")
@click.option("--draws", type=int, default=200_000, show_default=True,
              help="Where the inputs cannot be enumerated: inputs drawn from the prior.")  # fmt: skip
@click.option("--draws-given", type=int, default=1000, show_default=True,
              help="And, a query and condition, from the prior given what they share.")  # fmt: skip
@model_options("Map")
@seed_option
@json_option
@click.option("--html", type=FILE, help="Write the map as a self-contained HTML file.")
def map_(
    study: str, input_: str | None, sites: str | None, model: str | None, convention: str | None, as_json: bool,
    html: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Show what each site knows at each position, in bits.

    Every site at every named position: how many bits its activation gives about each feature of the task, as the mean
    over random inputs or for one INPUT. Exact where the inputs can be enumerated, else estimated from draws.
    """
    from rich.console import Console

    from inversionview.report.map_html import render_map_html
    from inversionview.report.map_terminal import render_map_terminal

    opened = open_for(study, model, convention)
    found = opened.map(input_, sites=names(sites), **settings)
    if html:
        write_page(html, render_map_html(found, title=f"What {opened.name} knows"))
    if as_json:
        print_json(found)
    else:
        render_map_terminal(found, Console())
