"""Writes the pages of the documentation that are made by programs: of the code, or of what was measured.

`make docs` writes them; `--check` writes nothing and fails where a page is not what it is made of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from inversionview.cli import cli
from research import addition_page, counting_page, facts_page, ioi_page, scale, stories_page, validation
from research.paths import DOCS

WIDTH = 96
HEAD = """\
# Command line

What `inversionview COMMAND --help` prints; this page is generated from the program. `python -m inversionview` does the
same.

Exit codes: 0 when it worked; 2 for a mistake of the user's, with one line on standard error that says what is wrong and
what would be right; 130 after Ctrl-C; 1 otherwise. With `--json`, standard output holds one JSON document and nothing
else. `INVERSIONVIEW_TRACEBACK=1` in the environment shows where an unexpected error came from.
"""


def command_line() -> str:
    """The reference of all commands as Markdown, in the order in which `--help` lists them."""
    parts = [HEAD]
    for context in _contexts(click.Context(cli, info_name="inversionview", **cli.context_settings)):
        parts.append(f"## {context.command_path}\n\n```text\n{_help(context)}\n```\n")
    return "\n".join(parts)


MEASURED: dict[str, tuple[Callable[[], str], tuple[Path, ...]]] = {
    "studies/addition.md": (addition_page.page, addition_page.FILES),
    "studies/counting.md": (counting_page.page, (counting_page.FILE,)),
    "studies/facts.md": (facts_page.page, (facts_page.FILE,)),
    "studies/ioi.md": (ioi_page.page, (ioi_page.FILE,)),
    "studies/stories.md": (stories_page.page, (stories_page.FILE,)),
    "validation.md": (validation.page, (validation.FILE,)),
}
"""Pages made of measurements, with the files that hold them. Until these are there, there is no page."""
PAGES: dict[str, Callable[[], str]] = {"command-line.md": command_line, "scale.md": scale.page} | {
    name: make for name, (make, files) in MEASURED.items() if all(file.is_file() for file in files)
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


def _help(context: click.Context) -> str:
    context.terminal_width = WIDTH  # the page must not depend on the terminal it is made in
    with context.scope(cleanup=False):
        lines = context.command.get_help(context).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    raise SystemExit(main())
