"""The command `validate`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FOLDER, json_option, numbers, seed_option
from inversionview.cli.output import print_json
from inversionview.errors import UserError


@click.command()
@click.argument("study")
@click.option("--cells", type=int, default=208, show_default=True, help="Random queries to check.")
@click.option("-n", "n", type=int, default=10_000, show_default=True, help="Candidates to draw for each.")
@click.option("--temperatures", default="1,2", show_default=True, help="Of the decoder, separated by commas.")
@click.option("--prior-share", type=float, default=0.4, show_default=True, help="Share of draws from the prior.")
@seed_option
@click.option("--keep", type=FOLDER, help="Folder that holds each finished cell, so that a killed run goes on.")
@click.option("--part", type=(int, int), metavar="K OF", help="Only the K-th of so many shares, from 0; needs --keep.")
@json_option
def validate(
    study: str, cells: int, n: int, temperatures: str, prior_share: float, seed: int, keep: Path | None,
    part: tuple[int, int] | None, as_json: bool,
) -> None:  # fmt: skip
    """Check the estimates against exact preimages.

    For random queries: how often each estimator's 95% interval holds what enumeration of the domain says, and how wide
    it is. Takes some seconds a query.
    """
    from rich.console import Console
    from rich.progress import Progress

    from inversionview.report.terminal_tables import render_validation_terminal

    if part is not None and (keep is None or not 0 <= part[0] < part[1]):
        raise UserError("--part takes K and OF, with K from 0 to OF - 1, and --keep for the folder that is shared")
    opened = open_for(study)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("cells", total=cells)
        found = opened.validate(
            cells,
            n,
            temperatures=numbers(temperatures, "--temperatures"),
            prior_share=prior_share,
            seed=seed,
            keep=keep,
            part=part,
            progress=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        print_json(found)
    else:
        render_validation_terminal(found, Console())  # type: ignore[arg-type]
