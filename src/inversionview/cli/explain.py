"""The command `explain`."""

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
    names,
    settings_options,
)
from inversionview.cli.output import print_json, write_page
from inversionview.errors import UserError
from inversionview.progress import doing
from inversionview.studies.settings import BY_FEATURES, SITES_HELP, ExplainSettings, ModelSettings


@click.command()
@click.argument("study")
@click.argument("input_", metavar="[INPUT]", required=False)
@at_option
@click.option("--site", help="With an input: activation site, such as a0.1 or x1.post.")
@click.option("--sites", metavar="LIST", help=f"Without one: sites to explain. {SITES_HELP}.")
@epsilon_option
@metric_option
@settings_options(ExplainSettings, ModelSettings)
@json_option
@click.option("--html", type=FILE, help="With --sites: write the table as a self-contained HTML file.")
def explain(
    settings: ExplainSettings, of: ModelSettings, *, study: str, input_: str | None, at: str | None, site: str | None,
    sites: str | None, as_json: bool, html: Path | None, **criterion: Any,
) -> None:  # fmt: skip
    """Say in words what an activation encodes, and score the words.

    With INPUT, of its activation at --site; without one, of --sites at a position, one sentence each. A rule over
    features is found on some inputs, and tried on others: inputs that fit it are run through the model. What sites say
    by the study's own ε is kept with it, where the viewer's map shows it.
    """
    if (input_ is None) == (sites is None):
        raise UserError("give an input and --site, or --sites and --at without an input")
    if html and input_ is not None:
        raise UserError("--html is for --sites: a reading of one activation has its words with it (read --html)")
    given = {name: value for name, value in vars(settings).items() if name != "queries"} | criterion
    if input_ is None and (settings.by != BY_FEATURES or settings.given is not None):
        raise UserError("sites are explained by features alone, over the whole domain: leave out --by and --given")
    of_sites = {name: value for name, value in given.items() if not (name.startswith("by") or name == "given")}
    with doing("explaining"):
        opened = open_for(study, of)
        if input_ is not None:
            if site is None:
                opened.query(input_, at, site)  # says which sites there are
            found: Any = opened.explain(opened.query(input_, at, site), **given)
        elif at is None:
            raise UserError("with --sites, say where: --at and a position")
        else:
            found = opened.explain_sites(names(sites or ""), at, queries=settings.queries, **of_sites)
            if of == ModelSettings() and not any(criterion.values()):
                from inversionview.studies.kept_explanations import keep_explanations

                keep_explanations(opened, found.sites)

    from rich.console import Console

    from inversionview.report.terminal_explanations import render_explanations_terminal, render_sites_terminal

    if html:
        write_page(html, found.to_html())
    if as_json:
        print_json(found.to_dict())
    elif input_ is not None:
        render_explanations_terminal(found, Console())
    else:
        render_sites_terminal(found, Console())
