"""The command `read`."""

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
    names,
    settings_options,
    site_option,
)
from inversionview.cli.output import Rows, print_json, show, write_readings
from inversionview.errors import UserError
from inversionview.progress import doing
from inversionview.studies.settings import ExactSettings, ModelSettings, ReadSettings


@click.command()
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@at_option
@site_option
@criterion_options
@click.option("--exact", is_flag=True, help="Run all inputs of the domain, and miss none.")
@settings_options(ReadSettings, ExactSettings, ModelSettings)
@click.option("--columns", metavar="LIST", help="Features to show beside each, by commas.  [default: the task's]")
@click.option(
    "--rows",
    type=click.Choice(["typical", "nearest", "misses"]),
    default="typical",
    show_default=True,
    help="Members drawn by weight, members nearest first, or the nearest inputs that are no members.",
)
@click.option("--details", is_flag=True, help="Show estimates, sources, densities, other ε and settings, too.")
@json_option
@click.option("--html", type=FILE, help="Write the reading as a self-contained HTML file.")
def read(
    sampled: ReadSettings, whole: ExactSettings, of: ModelSettings, *, study: str, input_: str, at: str | None,
    site: str, exact: bool, columns: str | None, rows: Rows, details: bool, as_json: bool, html: Path | None,
    **criterion: Any,
) -> None:  # fmt: skip
    """Read one activation: what it knows, and which inputs look the same there.

    Says what is known of the task's features, and shows inputs that the model cannot tell apart from INPUT at one
    position and site, each verified; with --exact all of them are found.

    STUDY is a bundled name, a folder or user/name on the hub, or with --model a domain such as ioi; INPUT is typed
    without begin and end tokens.
    """
    n = sampled.n
    if n < 1:
        raise UserError(f"-n must be at least 1, not {n}")
    if exact and rows == "misses":
        raise UserError("--rows misses is for readings without --exact, which keeps the members alone")
    if not exact and (whole.index is not None or whole.given is not None):
        raise UserError(f"--{'given' if whole.index is None else 'index'} is for --exact: give both, or neither")
    with doing(f"reading {site} of {study}"):
        opened = open_for(study, of)
        query = opened.query(input_, at, site)
        chosen = None if columns is None else opened.checked_features(names(columns))
        if exact:
            preimage = opened.exact_preimage(query, **criterion, **vars(whole) | {"curve": True})
        else:
            preimage = opened.preimage(query, **criterion, **vars(sampled) | {"colors": bool(html) or not as_json})
        if chosen is not None:
            preimage = opened.with_columns(preimage, chosen)
    if html:
        write_readings([preimage], html, str(query), n)
    if as_json:
        print_json(preimage.to_dict(n if exact else None))
    else:
        show([preimage], n, rows=rows, details=details)
