"""Draw effects of patching in a terminal: a table for each order, with bars."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from inversionview.report.patching import (
    caption,
    error,
    groups,
    heading,
    label,
    moved,
    notes,
    percent,
    settings,
    signed,
    summary,
)
from inversionview.report.terminal_lines import tint
from inversionview.report.terminal_tables import plain_table
from inversionview.results.patching import Effect, Patching

BAR = 20
"""Cells of a bar that reaches the other run."""


def render_patching_terminal(document: Patching, console: Console) -> None:
    """Print what the runs are, a table for each order, and what its columns are."""
    console.print(Text(heading(document), style="bold"))
    console.print(Text(summary(document)))
    console.print(Text("  ".join(f"{name}: {value}" for name, value in settings(document)), style="dim"))
    for order, effects in groups(document):
        console.print()
        console.print(Text(caption(order)))
        table = plain_table("", "patched", "drop", "moved", "", right=(1, 2, 3))
        for i, effect in enumerate(effects):
            table.add_row(*_row(document, effect, first=i == 0))
        console.print(table)
    console.print()
    for note in notes():
        console.print(Text(note, style="dim"))


def _row(document: Patching, effect: Effect, *, first: bool) -> list[Text]:
    share = moved(document, effect)
    words = (
        label(effect, first),
        signed(effect.patched) + error(effect.patched_se),
        signed(effect.drop) + error(effect.se),
        percent(share),
    )
    return [*map(Text, words), _bar(share or 0.0)]


def _bar(share: float) -> Text:
    """A bar from no change to the other run; what goes the other way, or beyond it, is only in the number."""
    eighths = round(8 * BAR * max(0.0, min(1.0, share)))
    whole, rest = divmod(eighths, 8)
    return Text("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else ""), style=tint(0.5))
