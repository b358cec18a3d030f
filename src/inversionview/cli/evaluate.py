"""The commands `evaluate` and `validate`."""

from __future__ import annotations

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import json_option, settings_options
from inversionview.cli.output import print_json
from inversionview.errors import UserError
from inversionview.progress import doing
from inversionview.studies.settings import EvaluateSettings, ValidateSettings


@click.command()
@click.argument("study")
@settings_options(EvaluateSettings)
@json_option
def evaluate(settings: EvaluateSettings, *, study: str, as_json: bool) -> None:
    """Measure a decoder, beside its floor, and its probed model.

    The in-ε rate is how often one sample at temperature 1 is a member of the preimage it was drawn for; the floor is
    how often a random input of the domain is. Completeness is how much of an exact preimage 1,000 samples are expected
    to reach.
    """
    with doing(f"evaluating {study}"):
        evaluation = open_for(study).evaluate(**vars(settings))

    from rich.console import Console

    from inversionview.report.terminal import render_evaluation_terminal

    if as_json:
        print_json(evaluation.to_dict())
    else:
        render_evaluation_terminal(evaluation, Console())


@click.command()
@click.argument("study")
@settings_options(ValidateSettings)
@json_option
def validate(settings: ValidateSettings, *, study: str, as_json: bool) -> None:
    """Check the estimates against exact preimages.

    For random queries: how often each estimator's 95% interval holds what enumeration of the domain says, and how wide
    it is. Takes some seconds a query.
    """
    part = settings.part
    if part is not None and (settings.keep is None or not 0 <= part[0] < part[1]):
        raise UserError("--part takes K and OF, with K from 0 to OF - 1, and --keep for the folder that is shared")
    with doing(f"validating {study}"):
        validation = open_for(study).validate(**vars(settings))

    from rich.console import Console

    from inversionview.report.terminal_tables import render_validation_terminal

    if as_json:
        print_json(validation.to_dict())
    else:
        render_validation_terminal(validation, Console())
