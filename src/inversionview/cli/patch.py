"""The command `patch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FILE, json_option, model_options, seed_option
from inversionview.cli.output import print_json, write_page


@click.command()
@click.argument("study")
@click.option("--target", required=True, help="Token that is predicted: a role, or an index (the begin token is 0).")
@click.option("--at", help="Position of the sites that name none: a role, or an index.")
@click.option("--sites", required=True, metavar="SITE[@POS],...", help="Sites to patch: a0.0@letter,embed@letter,a1.0.")
@click.option("--contrast", required=True, metavar="change:POS,...|random|flip",
              help="What the other run is of: POS drawn anew, another input, or a least change.")  # fmt: skip
@click.option("--order", type=click.Choice(["forward", "reverse", "both", "each", "together"]), default="forward",
              show_default=True, help="One site more each time, forward or in reverse; or one at a time.")  # fmt: skip
@click.option("--direction", type=click.Choice(["contrast-into-clean", "clean-into-contrast"]),
              default="contrast-into-clean", show_default=True, help="Which run's activations go where.")  # fmt: skip
@click.option("--where", metavar="COND", help="Only clean inputs that meet a condition over features: 'A1 != 1'.")
@click.option("--contrast-where", metavar="COND", help="Only contrast inputs that meet a condition.")
@click.option("-n", "n", type=int, default=2000, show_default=True, help="Clean inputs to draw, of the held-out side.")
@seed_option
@model_options("Patch")
@json_option
@click.option("--html", type=FILE, help="Write the effects as a self-contained HTML file.")
@click.option("--plot", type=FILE, help="Plot the effects, as PNG, SVG or PDF; needs matplotlib.")
def patch(
    study: str, model: str | None, convention: str | None, as_json: bool, html: Path | None, plot: Path | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Put activations of one run into another.

    For pairs of a clean and a contrast input: what it does to logit(clean answer) - logit(contrast answer) at the
    target when activations of one run replace those of the other. Conditions are over the task's features.
    """
    from rich.console import Console

    from inversionview.report.patching_terminal import render_patching_terminal

    opened = open_for(study, model, convention)
    found = opened.patch(**settings)
    document = found.to_dict()
    if html:
        write_page(html, found.to_html())
    if plot:
        found.plot(plot)
        click.echo(f"wrote {plot}", err=True)
    if as_json:
        print_json(document)
    else:
        render_patching_terminal(document, Console())
