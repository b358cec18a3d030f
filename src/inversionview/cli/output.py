"""What commands print and write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from inversionview.results.preimage import Preimage


Rows = Literal["typical", "nearest", "misses"]


def show(preimages: Sequence[Preimage], n: int | None = None, *, rows: Rows = "typical", details: bool = False) -> None:
    """Draw readings in the terminal, one below the other."""
    from rich.console import Console

    from inversionview.report.terminal import render_terminal

    console = Console()
    for i, preimage in enumerate(preimages):
        if i:
            console.print()
        render_terminal(preimage.to_reading(n), console, rows=rows, details=details)


def write_readings(preimages: Sequence[Preimage], path: Path, title: str, n: int | None = None) -> None:
    """Write readings as one HTML page."""
    from inversionview.report.page import render_page
    from inversionview.report.wire import MOST_TOKENS, SHOWN_FIRST, pack_reading

    readings = [
        pack_reading(preimage.to_reading(n), most_tokens=MOST_TOKENS, most_colored=SHOWN_FIRST)
        for preimage in preimages
    ]
    write_page(path, render_page(readings, title=title))


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def write_page(path: Path, page: str) -> None:
    """Write an HTML page, and say so on standard error."""
    from inversionview.files import write_atomic

    write_atomic(path, page)
    click.echo(f"wrote {path}", err=True)
