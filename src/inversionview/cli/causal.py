"""The command `causal`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import (
    FILE,
    at_option,
    criterion_options,
    json_option,
    settings_options,
    site_option,
)
from inversionview.cli.output import print_json, write_page
from inversionview.progress import doing
from inversionview.studies.settings import CausalSettings, ModelSettings


@click.command()
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@at_option
@site_option
@criterion_options
@settings_options(CausalSettings, ModelSettings)
@json_option
@click.option("--html", type=FILE, help="Write what was found as a self-contained HTML file.")
def causal(
    settings: CausalSettings, of: ModelSettings, *, study: str, input_: str, at: str | None, site: str,
    as_json: bool, html: Path | None, **criterion: Any,
) -> None:  # fmt: skip
    """Tell whether what an activation encodes is used.

    Puts activations of members of the preimage into the run of INPUT (the output should hold) and those of non-members
    (it should change); and tells features that are used from those that are only present.
    """
    with doing(f"whether what {site} encodes is used"):
        opened = open_for(study, of)
        use = opened.causal(opened.query(input_, at, site), **criterion, **vars(settings))

    from rich.console import Console

    from inversionview.report.causal_terminal import render_causal_terminal

    if html:
        write_page(html, use.to_html())
    if as_json:
        print_json(use.to_dict())
    else:
        render_causal_terminal(use, Console())
