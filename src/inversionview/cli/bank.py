"""The command `bank`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FOLDER, json_option, names, settings_options
from inversionview.cli.output import print_json
from inversionview.progress import doing
from inversionview.studies.settings import BankSettings, ModelSettings


@click.command()
@click.argument("study")
@click.option("--at", required=True, metavar="POS,...", help="Positions to keep: roles such as END, indices, or all.")
@settings_options(BankSettings, ModelSettings)
@click.option("--out", type=FOLDER, required=True, help="Folder of the bank; one that is not finished goes on.")
@json_option
def bank(settings: BankSettings, of: ModelSettings, *, study: str, at: str, out: Path, as_json: bool) -> None:
    """Keep the activations of a sample of the inputs.

    One pass over inputs drawn from the prior, which keeps every chosen site at every chosen position, heads in their
    own dimensions. It is read again with --bank. Under torchrun or accelerate launch the processes share the work.
    """
    is_first = os.environ.get("RANK", "0") == "0"
    with doing(f"planning a bank of {study}"):
        opened = open_for(study, of)
        from inversionview.bank.plan import in_words
        from inversionview.studies.verbs.bank import make_for, plan_for

        planned = plan_for(opened.parts, names(at), settings)
    if is_first:
        click.echo(f"bank: {planned.words}", err=True)
    with doing(f"bank of {study}"):
        summary = make_for(opened.parts, planned, settings, out)[1]
    if not is_first:
        return
    if as_json:
        print_json(summary.to_dict())
    else:
        click.echo(
            f"{summary.inputs:,} inputs, {summary.runs:,} of them run, in {summary.seconds:,.1f} s: "
            f"{len(summary.sites):,} sites at {' '.join(summary.ats)}, {in_words(summary.bytes)}"
        )
        click.echo(f"wrote the bank {out}")
