"""The command `map`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import FILE, epsilon_option, json_option, metric_option, settings_options
from inversionview.cli.output import print_json, write_page
from inversionview.progress import doing
from inversionview.studies.settings import MapSettings, ModelSettings

if TYPE_CHECKING:
    from inversionview.results.map import Map
    from inversionview.studies.study import Study


@click.command("map")
@click.argument("study")
@click.argument("input_", metavar="[INPUT]", required=False)
@click.option("--measure", is_flag=True, help="Measure, though a map is kept with the study.")
@click.option("--feature", metavar="NAME", help="Where is this one? Show it alone, and where it is known first.")
@epsilon_option
@metric_option
@settings_options(MapSettings, ModelSettings)
@json_option
@click.option("--html", type=FILE, help="Write the map as a self-contained HTML file.")
def map_(
    settings: MapSettings, of: ModelSettings, *, study: str, input_: str | None, measure: bool, feature: str | None,
    epsilon: str | None, metric: str | None, as_json: bool, html: Path | None,
) -> None:  # fmt: skip
    """Show what each site knows at each position, in bits.

    Every site at every named position: how many bits its activation gives about each feature of the task, as the mean
    over random inputs or for one INPUT. Exact where the inputs can be enumerated, else from a bank: a sample of the
    inputs, of which each query finds its members; nothing is trained for it.

    A study keeps the map of all its sites by its own ε, and without INPUT that one is shown at once. It is measured,
    and kept, where there is none, or with --measure; whatever asks for another map has that one measured.
    """
    with doing(f"map of {study}"):
        is_usual = (input_, epsilon, metric, settings) == (None, None, None, MapSettings())
        if not is_usual or of != ModelSettings():
            opened = _opened(study, of, feature)
            document = opened.map(input_, epsilon=epsilon, metric=metric, **vars(settings))
        else:
            document = _usual(study, feature, measure=measure)

    from rich.console import Console

    from inversionview.report.map_terminal import render_map_terminal

    if html:
        write_page(html, document.to_html())
    if as_json:
        print_json(document.to_dict())
    else:
        render_map_terminal(document, Console(), feature)


def _opened(study: str, of: ModelSettings, feature: str | None) -> Study:
    """The study to be measured; a feature that its task lacks is refused before."""
    opened = open_for(study, of)
    if feature is not None:
        opened.checked_features([feature])
    return opened


def _usual(study: str, feature: str | None, *, measure: bool) -> Map:
    """The map that is kept with a study, or a new one to be kept."""
    from inversionview.studies.description import read_description
    from inversionview.studies.finding import find_study
    from inversionview.studies.kept_map import described_map, keep_map, kept_map

    folder = find_study(study)
    if not measure and (found := described_map(folder, read_description(folder))):
        return found
    opened = _opened(str(folder), ModelSettings(), feature)
    if not measure and (found := kept_map(opened)):
        return found
    document = opened.map()
    keep_map(opened, document)
    return document
