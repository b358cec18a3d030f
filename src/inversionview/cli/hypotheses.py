"""The command `test`."""

from __future__ import annotations

from typing import Any

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import at_option, json_option, metric_option, names, settings_options
from inversionview.cli.output import print_json
from inversionview.progress import doing
from inversionview.studies.settings import SITES_HELP, ModelSettings, TestSettings


@click.command("test")
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@click.argument("hypothesis")
@at_option
@click.option("--sites", required=True, metavar="LIST", help=f"{SITES_HELP}; p-values are corrected for them.")
@click.option("--epsilon", type=float, help="Largest distance of a member.  [default: the study's]")
@metric_option
@settings_options(TestSettings, ModelSettings)
@json_option
def test(
    settings: TestSettings, of: ModelSettings, *, study: str, input_: str, hypothesis: str, at: str | None, sites: str,
    as_json: bool, **criterion: Any,
) -> None:  # fmt: skip
    """Test a hypothesis about what an activation says.

    HYPOTHESIS is the name of a feature, such as F1 (the members share the query's value), or an expression over
    features, such as "F1 + S1 == 14". Shows how consistent it is over the preimage, and by chance.
    """
    with doing(f"testing {hypothesis}"):
        opened = open_for(study, of)
        queries = [opened.query(input_, at, site) for site in opened.select_sites(names(sites))]
        tests = opened.test(queries, hypothesis, **criterion, **vars(settings))

    from rich.console import Console

    from inversionview.report.terminal_tables import render_hypotheses_terminal
    from inversionview.results import convert

    if as_json:
        print_json({"schema": 1, "study": opened.name, "input": input_, "tests": convert.plain(tests)})
    else:
        render_hypotheses_terminal(tests, Console())
