"""The command `studies`."""

from __future__ import annotations

import click


@click.command()
def studies() -> None:
    """List the bundled studies, and the recipes to train from."""
    from rich.console import Console

    from inversionview.report.terminal import render_table
    from inversionview.studies.description import bundled_studies, read_description
    from inversionview.studies.recipes import DECODER_RECIPES, PROBED_RECIPES, options_of

    rows = []
    for name, folder in bundled_studies().items():
        study = read_description(folder)
        about = f"{study.about or f'Task {study.task}.'} {len(study.sites)} sites: {', '.join(study.sites)}"
        rows.append({"name": name, "what": "bundled study", "about": about})
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
