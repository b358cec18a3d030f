"""The command `map`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FILE, epsilon_option, json_option, metric_option, settings_options
from inversionview.cli.output import print_json, write_page
from inversionview.studies.settings import MapSettings, ModelSettings


@click.command("map")
@click.argument("study")
@click.argument("input_", metavar="[INPUT]", required=False)
@epsilon_option
@metric_option
@settings_options(MapSettings, ModelSettings)
@json_option
@click.option("--html", type=FILE, help="Write the map as a self-contained HTML file.")
def map_(
    settings: MapSettings, of: ModelSettings, *, study: str, input_: str | None, epsilon: str | None,
    metric: str | None, as_json: bool, html: Path | None,
) -> None:  # fmt: skip
    """Show what each site knows at each position, in bits.

    Every site at every named position: how many bits its activation gives about each feature of the task, as the mean
    over random inputs or for one INPUT. Exact where the inputs can be enumerated, else from a bank: a sample of the
    inputs, of which each query finds its members; nothing is trained for it.
    """
    from rich.console import Console

    from inversionview.report.map_terminal import render_map_terminal

    opened = open_for(study, of)
    document = opened.map(input_, epsilon=epsilon, metric=metric, **vars(settings))
    if html:
        write_page(html, document.to_html())
    if as_json:
        print_json(document.to_dict())
    else:
        render_map_terminal(document, Console())
