"""The command `causal`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import (
    FILE,
    at_option,
    epsilon_option,
    json_option,
    metric_option,
    model_options,
    names,
    positions,
    rule_option,
    seed_option,
    site_option,
)
from inversionview.cli.output import print_json, write_page


@click.command()
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@at_option
@site_option
@epsilon_option
@metric_option
@rule_option
@click.option("-n", "n", type=int, default=500, show_default=True, help="Inputs of each group.")
@click.option("--exact/--sampled", default=None, help="All members, or a sample.  [default: exact if it can be]")
@click.option("--features", metavar="LIST", help="Features to tell about, by commas.  [default: all]")
@click.option("--given", metavar="LIST", help="Features that all non-members must share with the query, by commas.")
@click.option(
    "--outputs", metavar="LIST", help="Positions whose next token counts.  [default: they predict the answer]"
)
@model_options("Look at")
@seed_option
@json_option
@click.option("--html", type=FILE, help="Write what was found as a self-contained HTML file.")
def causal(
    study: str, input_: str, at: str | None, site: str, features: str | None, given: str | None, outputs: str | None,
    model: str | None, convention: str | None, as_json: bool, html: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Tell whether what an activation encodes is used.

    Puts activations of members of the preimage into the run of INPUT (the output should hold) and those of non-members
    (it should change); and tells features that are used from those that are only present.
    """
    from rich.console import Console

    from inversionview.report.causal_terminal import render_causal_terminal

    opened = open_for(study, model, convention)
    query = opened.query(input_, at, site)
    found = opened.causal(query, features=names(features), given=names(given), outputs=positions(outputs), **settings)
    if html:
        write_page(html, found.to_html())
    if as_json:
        print_json(found.to_dict())
    else:
        render_causal_terminal(found.to_dict(), Console())  # type: ignore[arg-type]
