"""The command `studies`."""

from __future__ import annotations

from pathlib import Path

import click

from inversionview.errors import UserError

SHOWN = 30
"""Sites of a study, at most."""


@click.command()
def studies() -> None:
    """List the bundled studies, those of the hub that are here, and the recipes to train from."""
    from rich.console import Console

    from inversionview.report.terminal import render_table
    from inversionview.studies.description import bundled_studies
    from inversionview.studies.finding import cached_studies
    from inversionview.studies.recipes import DECODER_RECIPES, PROBED_RECIPES, options_of

    rows = [_row(name, "bundled study", folder) for name, folder in bundled_studies().items()]
    rows += [_row(name, "from the hub", folder) for name, folder in cached_studies().items()]
    rows += [
        {"name": name, "what": "recipe", "about": f"a decoder: inversionview train {given} --out FOLDER"}
        for name, recipe in DECODER_RECIPES.items()
        for given in [f"{name} {options_of(recipe)}".strip()]
    ]
    rows += [
        {"name": name, "what": "recipe", "about": f"a probed model: inversionview train-probed {name} --out FOLDER"}
        for name in PROBED_RECIPES
    ]
    render_table(rows, Console())


def _row(name: str, what: str, folder: Path) -> dict[str, str]:
    from inversionview.studies.description import read_description

    try:
        study = read_description(folder)
    except UserError as error:  # somebody else's, which must not hide the others
        return {"name": name, "what": what, "about": str(error)}
    sites = ", ".join(study.sites[:SHOWN]) + (", ..." if len(study.sites) > SHOWN else "")
    about = f"{study.about or f'Task {study.task}.'} {len(study.sites)} sites: {sites}"
    return {"name": name, "what": what, "about": about}
