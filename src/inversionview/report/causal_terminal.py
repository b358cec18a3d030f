"""Draw in a terminal whether what an activation encodes is used."""

from __future__ import annotations

from rich.console import Console
from rich.style import Style
from rich.text import Text

from inversionview.report.causal import (
    FEATURE_COLUMNS,
    GROUP_COLUMNS,
    abstained,
    answer,
    feature_rows,
    group_rows,
    heading,
    notes,
    settings,
)
from inversionview.report.terminal_lines import shortened, tint
from inversionview.report.terminal_tables import plain_table
from inversionview.results.use import Use

_WIDEST = 14
"""Cells of a feature's value, and half of them where the console is not wide: or it would squeeze what is beside it."""
_ROOMY, _WIDE = 76, 100
"""Cells of a console from which on no number is broken, and from which on values have their full width."""
_STYLES = {"used": tint(1.0), "merely present": tint(0.2), "not encoded": Style(dim=True)}


def render_causal_terminal(document: Use, console: Console) -> None:
    """Print the answer, what each group of activations did, and a row for each feature."""
    console.print(Text(heading(document), style="bold"))
    console.print(Text(answer(document)))
    console.print(Text("  ".join(f"{name}: {value}" for name, value in settings(document)), style="dim"))
    console.print()
    numbers = (1, 2, 3, 4, 5)
    roomy = console.width >= _ROOMY
    table = plain_table(*GROUP_COLUMNS, right=numbers, whole=numbers if roomy else ())
    for row in group_rows(document):
        table.add_row(*map(Text, row))
    console.print(table)
    told = feature_rows(document)
    if told:
        console.print()
        numbers, wide = (2, 3, 4, 5, 6), console.width >= _WIDE
        features = plain_table(*FEATURE_COLUMNS, right=numbers, whole=(0, *numbers) if roomy else ())
        widest = _WIDEST if wide else _WIDEST // 2
        features.padding = (0, 2 if wide else 1, 0, 0)
        for line in told:
            name, here, *cells, verdict = line.cells
            styled = Text(verdict, style=_STYLES[line.verdict])
            features.add_row(Text(name), Text(shortened(here, widest)), *map(Text, cells), styled)
        console.print(features)
    for why_not in abstained(document):
        console.print(Text(why_not))
    console.print()
    for note in notes(document):
        console.print(Text(note, style="dim"))
