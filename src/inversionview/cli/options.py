"""Options that several commands have, and how what is typed in one is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from inversionview.errors import UserError

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(path_type=Path)
at_option = click.option(
    "--at", help="Position to read: a role such as '=', or an index.  [default: the last eligible one]"
)
site_option = click.option("--site", required=True, help="Activation site, such as a0.1 or x1.post.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same result.")
epsilon_option = click.option(
    "--epsilon", help="Largest distance of a member: 0.1, null:0.01 or causal:0.05.  [default: the study's]"
)
metric_option = click.option(
    "--metric", type=click.Choice(["euclidean", "cosine"]), help="Distance.  [default: the study's]"
)
rule_option = click.option(
    "--position-rule",
    type=click.Choice(["same", "any"]),
    default="same",
    show_default=True,
    help="Match only the position that plays the same role, or the best one.",
)


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order in which `--help` lists them."""

    def apply(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def model_options(does: str) -> Callable[[Any], Any]:
    """The options by which a command looks at another model of the study's task."""
    return options(
        click.option(
            "--model", metavar="PATH_OR_ID", help=f"{does} another model of the same task; it needs no decoder."
        ),
        click.option("--convention", type=click.Choice(["raw", "tl"]), help="With --model.  [default: the study's]"),
    )


def numbers(text: str, option: str) -> list[float]:
    """Numbers that are typed with commas between them. Raises `UserError` that names the option."""
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"{option} takes numbers separated by commas, such as 0.5,1,2, not {text!r}") from error


def names(text: str | None) -> list[str] | None:
    """Names that are typed with commas between them; None where nothing is."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def positions(text: str | None) -> list[str | int] | None:
    """Positions that are typed with commas between them, each a role or an index."""
    roles = names(text)
    return None if roles is None else [int(role) if role.isdigit() else role for role in roles]
