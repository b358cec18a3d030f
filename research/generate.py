"""Writes the pages of the documentation that are made by programs: of the code, or of what was measured.

`make docs` writes them; `--check` writes nothing and fails where a page is not what it is made of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from inversionview.cli import cli
from research import (
    addition_page,
    counting_page,
    explanations_page,
    facts_page,
    ioi_page,
    markdown,
    real_page,
    scale,
    stories_page,
    validation_page,
)
from research.paths import DOCS

WIDTH = 96


def command_line() -> str:
    """The reference of all commands as Markdown, in the order in which `--help` lists them."""
    contexts = _contexts(click.Context(cli, info_name="inversionview", **cli.context_settings))
    sections = (f"## {context.command_path}\n\n{markdown.code(_help(context))}" for context in contexts)
    return markdown.page("command-line", commands=markdown.joined(sections))


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line,
    "explanations.md": explanations_page.page,
    "scale.md": scale.page,
    "studies/addition.md": addition_page.page,
    "studies/counting.md": counting_page.page,
    "studies/facts.md": facts_page.page,
    "studies/ioi.md": ioi_page.page,
    "studies/real-models.md": real_page.page,
    "studies/stories.md": stories_page.page,
    "validation.md": validation_page.page,
}


def main(args: Sequence[str] | None = None) -> int:
    """Write the pages, or with `--check` say which are out of date; the number of these."""
    check = "--check" in (sys.argv[1:] if args is None else args)
    stale = [name for name, make in PAGES.items() if _read(DOCS / name) != make()]
    for name in stale:
        if check:
            print(f"docs/{name} is out of date: run `make docs`", file=sys.stderr)
        else:
            (DOCS / name).parent.mkdir(exist_ok=True)
            (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
            print(f"wrote docs/{name}")
    return len(stale) if check else 0


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from _contexts(click.Context(command, context, name, **command.context_settings))


def _help(context: click.Context) -> list[str]:
    context.terminal_width = WIDTH  # the page must not depend on the terminal it is made in
    with context.scope(cleanup=False):
        lines = context.command.get_help(context).splitlines()
    return [line.rstrip() for line in lines]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    raise SystemExit(main())
