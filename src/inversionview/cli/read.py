"""The command `read`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inversionview.cli.options import (
    FILE,
    FOLDER,
    at_option,
    epsilon_option,
    json_option,
    metric_option,
    names,
    numbers,
    rule_option,
    seed_option,
    site_option,
)
from inversionview.cli.output import print_json, show, write_readings
from inversionview.errors import UserError


@click.command()
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@at_option
@site_option
@epsilon_option
@metric_option
@rule_option
@click.option("-n", "n", type=int, default=1000, show_default=True,
              help="Candidates to draw; with --exact, members to show.")  # fmt: skip
@seed_option
@click.option("--temperatures", default="1", show_default=True, help="Of the decoder, separated by commas.")
@click.option("--noise", default="0", show_default=True, help="Levels of noise on the activation, by commas.")
@click.option("--prior-share", type=float, default=0.1, show_default=True, help="Share of draws from the prior.")
@click.option("--also", default="", metavar="LIST", help="Draw from retrieval, edits, given, cosine or varied as well.")
@click.option("--exact", is_flag=True, help="Run all inputs of the domain, and miss none.")
@click.option("--index", type=FOLDER, help="With --exact: keep activations in this folder, for later queries.")
@click.option("--given", metavar="NAME", help="With --exact: of the inputs that share something, such as counts.")
@click.option("--columns", metavar="LIST", help="Features to show beside each, by commas.  [default: the task's]")
@json_option
@click.option("--html", type=FILE, help="Write the reading as a self-contained HTML file.")
def read(
    study: str, input_: str, at: str | None, site: str, n: int, exact: bool, index: Path | None, given: str | None,
    columns: str | None, as_json: bool, html: Path | None, temperatures: str, noise: str, prior_share: float, also: str,
    **settings: Any,
) -> None:  # fmt: skip
    """Read one activation: the inputs that look the same there.

    Shows inputs that the model cannot tell apart from INPUT at one position and site, each verified; with --exact all
    of them.

    STUDY is a bundled name or a folder; INPUT is typed without begin and end tokens.
    """
    from inversionview.studies.study import load_study

    opened = load_study(study)
    query = opened.query(input_, at, site)
    if n < 1:
        raise UserError(f"-n must be at least 1, not {n}")
    if exact:
        preimage = opened.exact_preimage(query, curve=True, index=index, given=given, **settings)
    elif index is not None or given is not None:
        raise UserError(f"--{'given' if index is None else 'index'} is for --exact: give both, or neither")
    else:
        preimage = opened.preimage(
            query,
            n,
            temperatures=numbers(temperatures, "--temperatures"),
            noise=numbers(noise, "--noise"),
            prior_share=prior_share,
            also=names(also) or (),
            colors=bool(html) or not as_json,
            **settings,
        )
    if columns is not None:
        preimage = opened.with_columns(preimage, names(columns))
    if html:
        write_readings([preimage], html, f"{query.input} at {query.role}, {query.site}", n)
    if as_json:
        print_json(preimage.to_dict(n if exact else None))
    else:
        show([preimage], n)
