"""Options: those that several commands share, and those that stand for the declared settings of a verb."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from inversionview.criterion import parse_epsilon
from inversionview.errors import UserError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _File(click.Path):
    """A file to write, whose folder must be there: what fails after minutes of work is known before."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        folder = path.parent
        if not folder.is_dir():
            raise UserError(f"cannot write {path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK):
            raise UserError(f"cannot write {path}: nothing may be written in {folder}")
        return path


def _checked_epsilon(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None:
        parse_epsilon(given)  # before a study is opened
    return given


FILE = _File(dir_okay=False, path_type=Path)
FOLDER = click.Path(path_type=Path)
at_option = click.option(
    "--at", help="Position to read: a role such as '=', or an index.  [default: the last eligible one]"
)
site_option = click.option("--site", required=True, help="Activation site, such as a0.1 or x1.post.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
epsilon_option = click.option(
    "--epsilon",
    callback=_checked_epsilon,
    help="Largest distance of a member: 0.1, null:0.01 or causal:0.05.  [default: the study's]",
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


def options(*decorators: Callable[[Any], Any]) -> Decorator:
    """Several options as one decorator, in the order in which `--help` lists them."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


criterion_options = options(epsilon_option, metric_option, rule_option)


def settings_options(*declared: type) -> Decorator:
    """An option for each field of these settings that has help; the command gets the settings first, one of each."""

    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_settings(**typed: Any) -> Any:
            chosen = [{name: typed[name] for name in _option_fields(one) if name in typed} for one in declared]
            others = {name: value for name, value in typed.items() if not any(name in own for own in chosen)}
            return command(*(one(**own) for one, own in zip(declared, chosen, strict=True)), **others)

        by_name = {field.name: _option(field, hint) for one in declared for field, hint in _fields(one)}
        return options(*by_name.values())(with_settings)

    return apply


def _option_fields(declared: type) -> list[str]:
    return [field.name for field, _ in _fields(declared)]


def _fields(declared: type) -> Iterator[tuple[Any, Any]]:
    hints = get_type_hints(declared)
    for field in dataclasses.fields(declared):
        if field.metadata.get("help"):
            yield field, hints[field.name]


def _option(field: Any, hint: Any) -> Decorator:
    kind = get_args(hint)[0] if get_origin(hint) in (Union, UnionType) else hint  # of `str | int | None` the first
    about, default = field.metadata, field.default
    name = about.get("flag") or f"--{field.name.replace('_', '-')}"
    extra: dict[str, Any] = {"help": about["help"], "default": default, "metavar": about.get("metavar")}
    if about.get("multiple"):
        extra["multiple"] = True
    elif get_origin(kind) is tuple and get_args(kind)[-1] is ...:
        extra |= {"type": _List(get_args(kind)[0], name), "default": None if default is None else _typed(default)}
    elif kind is bool and "flag" not in about:
        extra["is_flag"] = True
    elif kind is not bool:
        extra["type"] = _click_type(kind)
    if not isinstance(default, bool) and default not in (None, ()):
        extra["show_default"] = True
    return click.option(*filter(None, (about.get("short") or name, field.name)), **extra)


def _click_type(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    return FOLDER if kind is Path else get_args(kind) or kind


def _typed(values: tuple[Any, ...]) -> str:
    return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


class _List(click.ParamType[tuple[Any, ...]]):
    """Values that are typed with commas between them: numbers, names, or positions (a role or an index)."""

    name = "text"

    def __init__(self, kind: Any, option: str) -> None:
        self._kind, self._option = kind, option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """The values in order. Raises `UserError` that names the option where numbers are asked for."""
        if isinstance(value, tuple):
            return value
        if self._kind is float:
            return numbers(value, self._option)
        parts = names(value)
        return parts if self._kind is str else tuple(int(part) if part.isdigit() else part for part in parts)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers that are typed with commas between them. Raises `UserError` that names the option."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UserError(f"{option} takes numbers separated by commas, such as 0.5,1,2, not {text!r}") from error


def names(text: str) -> tuple[str, ...]:
    """Names that are typed with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
