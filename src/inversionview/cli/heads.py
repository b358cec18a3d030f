"""The command `heads`."""

from __future__ import annotations

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import json_option, settings_options
from inversionview.cli.output import print_json
from inversionview.progress import doing
from inversionview.studies.settings import HeadSettings, ModelSettings

SHOWN = 25


@click.command()
@click.argument("study")
@settings_options(HeadSettings, ModelSettings)
@json_option
def heads(settings: HeadSettings, of: ModelSettings, *, study: str, as_json: bool) -> None:
    """Choose heads by what they add at a position.

    A head counts for an input where its share of what its layer brings to the residual stream is above --least; shows
    those that count most often, over random training inputs or given facts. Nothing is trained for it.
    """
    with doing(f"choosing heads of {study}"):
        opened = open_for(study, of)
        selection = opened.head_selection(**vars(settings))

    from rich.console import Console

    from inversionview.report.terminal_tables import render_heads_terminal

    if as_json:
        print_json(
            {
                **selection.to_dict(),
                "study": opened.name,
                "at": settings.at,
                "layers": settings.layers,
                "seed": settings.seed,
            }
        )
    else:
        rows = [(part.site, part.counts, part.proximity) for part in selection.heads[:SHOWN]]
        render_heads_terminal(rows, Console())
        click.echo(f"over {selection.n:,} inputs at {settings.at}; counts: share above {selection.least:g}", err=True)
