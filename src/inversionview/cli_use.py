"""The command `causal`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from inversionview.errors import UserError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@click.option("--at", help="Position to read: a role such as '=', or an index.  [default: the last eligible one]")
@click.option("--site", required=True, help="Activation site, such as a0.1 or x1.post.")
@click.option("--epsilon", help="Largest distance of a member: 0.1, null:0.01 or causal:0.05.  [default: the study's]")
@click.option("--metric", type=click.Choice(["euclidean", "cosine"]), help="Distance.  [default: the study's]")
@click.option("--position-rule", type=click.Choice(["same", "any"]), default="same", show_default=True,
              help="Match only the position that plays the same role, or the best one.")  # fmt: skip
@click.option("-n", "n", type=int, default=500, show_default=True, help="Inputs of each group.")
@click.option("--exact/--sampled", default=None, help="All members, or a sample.  [default: exact if it can be]")
@click.option("--features", metavar="LIST", help="Features to tell about, by commas.  [default: all]")
@click.option("--given", metavar="LIST", help="Features that all non-members must share with the query, by commas.")
@click.option(
    "--outputs", metavar="LIST", help="Positions whose next token counts.  [default: they predict the answer]"
)
@click.option("--model", metavar="PATH_OR_ID", help="Another model of the same task; it needs no decoder.")
@click.option("--convention", type=click.Choice(["raw", "tl"]), help="With --model.  [default: the study's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same result.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
@click.option("--html", type=_FILE, help="Write what was found as a self-contained HTML file.")
def causal(
    study: str, input_: str, at: str | None, site: str, features: str | None, given: str | None, outputs: str | None,
    model: str | None, convention: str | None, as_json: bool, html: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Tell whether what an activation encodes is used.

    Puts activations of members of the preimage into the run of INPUT (the output should hold) and those of non-members
    (it should change); and tells features that are used from those that are only present.
    """
    from rich.console import Console

    from inversionview.files import write_atomic
    from inversionview.report.causal_terminal import render_causal_terminal
    from inversionview.studies.study import load_study
    from inversionview.studies.verbs.causal import run_causal

    opened = load_study(study)
    if model is not None:
        opened = opened.with_model(model, convention=convention)
    elif convention is not None:
        raise UserError("--convention is for another model: give --model too")
    query = opened.query(input_, at, site)
    found = run_causal(
        opened, query, features=_names(features), given=_names(given), outputs=_positions(outputs), **settings
    )
    if html:
        write_atomic(html, found.to_html())
        click.echo(f"wrote {html}", err=True)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        render_causal_terminal(found.to_dict(), Console())  # type: ignore[arg-type]


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _positions(text: str | None) -> list[str | int] | None:
    names = _names(text)
    return None if names is None else [int(name) if name.isdigit() else name for name in names]
