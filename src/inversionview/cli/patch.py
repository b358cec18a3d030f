"""The command `patch`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FILE, json_option, settings_options
from inversionview.cli.output import print_json, write_page
from inversionview.progress import doing
from inversionview.studies.settings import ModelSettings, PatchSettings


@click.command()
@click.argument("study")
@click.option("--target", required=True, help="Token that is predicted: a role, or an index (the begin token is 0).")
@click.option(
    "--sites", required=True, metavar="SITE[@POS],...", help="Sites to patch: a0.0@letter,embed@letter,a18-24."
)
@click.option("--contrast", required=True, metavar="change:POS,...|random|flip",
              help="What the other run is of: POS drawn anew, another input, or a least change.")  # fmt: skip
@settings_options(PatchSettings, ModelSettings)
@json_option
@click.option("--html", type=FILE, help="Write the effects as a self-contained HTML file.")
@click.option("--plot", type=FILE, help="Plot the effects, as PNG, SVG or PDF; needs matplotlib.")
def patch(
    settings: PatchSettings, of: ModelSettings, *, study: str, target: str, sites: str, contrast: str,
    as_json: bool, html: Path | None, plot: Path | None,
) -> None:  # fmt: skip
    """Put activations of one run into another.

    For pairs of a clean and a contrast input: what it does to logit(clean answer) - logit(contrast answer) at the
    target when activations of one run replace those of the other. Conditions are over the task's features.
    """
    with doing(f"patching {study}"):
        effects = open_for(study, of).patch(target=target, sites=sites, contrast=contrast, **vars(settings))

    from rich.console import Console

    from inversionview.report.patching_terminal import render_patching_terminal

    if html:
        write_page(html, effects.to_html())
    if plot:
        effects.plot(plot)
        click.echo(f"wrote {plot}", err=True)
    if as_json:
        print_json(effects.to_dict())
    else:
        render_patching_terminal(effects.summary, Console())
