"""Options that stand for declared settings: each field with help is one, typed as the field is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click
import pytest

from inversionview.cli.options import settings_options
from inversionview.errors import UserError
from inversionview.studies import settings


@dataclass(frozen=True)
class Some:
    n: int = field(default=3, metadata={"help": "How many.", "short": "-n"})
    share: float = field(default=0.5, metadata={"help": "Which part."})
    order: Literal["up", "down"] = field(default="up", metadata={"help": "Which way."})
    temperatures: tuple[float, ...] = field(default=(1.0, 2.5), metadata={"help": "Numbers."})
    names: tuple[str, ...] | None = field(default=None, metadata={"help": "Names."})
    places: tuple[str | int, ...] | None = field(default=None, metadata={"help": "Positions."})
    folder: Path | None = field(default=None, metadata={"help": "Where."})
    pair: tuple[int, int] | None = field(default=None, metadata={"help": "Two."})
    whole: bool | None = field(default=None, metadata={"help": "Or not.", "flag": "--whole/--part"})
    again: bool = field(default=False, metadata={"help": "Go on."})
    files: tuple[str, ...] = field(default=(), metadata={"help": "Files.", "multiple": "yes"})
    inner: int = 7


@dataclass(frozen=True)
class Other:
    n: int = field(default=3, metadata={"help": "How many.", "short": "-n"})
    word: str | None = field(default=None, metadata={"help": "A word."})


def chosen(*args: str) -> tuple[Some, Other, str]:
    @click.command()
    @click.argument("study")
    @settings_options(Some, Other)
    def command(some: Some, other: Other, *, study: str) -> tuple[Some, Other, str]:
        return some, other, study

    return command.main(["addition", *args], standalone_mode=False)


def test_without_options_the_settings_are_as_declared():
    assert chosen() == (Some(), Other(), "addition")


def test_each_field_is_read_as_its_type_says():
    some, other, _ = chosen(
        *("-n", "4", "--share", "0.25", "--order", "down", "--temperatures", "1,2", "--names", "a, b", "--places"),
        *("=,3", "--folder", "here", "--pair", "0", "2", "--part", "--again", "--files", "x", "--files", "y,z"),
        *("--word", "w"),
    )
    assert some == Some(
        4, 0.25, "down", (1.0, 2.0), ("a", "b"), ("=", 3), Path("here"), (0, 2), False, True, ("x", "y,z")
    )
    assert other == Other(4, "w")


def test_what_is_no_number_is_refused_with_the_option_s_name():
    with pytest.raises(UserError, match="--temperatures takes numbers separated by commas"):
        chosen("--temperatures", "hot")


def test_a_choice_that_is_none_and_a_field_without_help_are_refused():
    for args in (["--order", "sideways"], ["--inner", "3"]):
        with pytest.raises(click.UsageError):
            chosen(*args)


@pytest.mark.parametrize(
    "declared", [one for one in vars(settings).values() if dataclasses.is_dataclass(one)], ids=lambda one: one.__name__
)
def test_all_settings_of_the_package_can_be_options(declared):
    @click.command()
    @settings_options(declared)
    def command(chosen):
        return chosen

    options = {name for parameter in command.params for name in [parameter.name]}
    assert options == {one.name for one in dataclasses.fields(declared) if one.metadata.get("help")}
    assert command.main([], standalone_mode=False) == declared()
