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
from inversionview.report.terminal_lines import tint
from inversionview.report.terminal_tables import plain_table
from inversionview.results.use import Use

_WIDEST = 14
"""Characters of a feature's value; a longer one would squeeze the numbers beside it."""
_STYLES = {"used": tint(1.0), "merely present": tint(0.2), "not encoded": Style(dim=True)}


def render_causal_terminal(document: Use, console: Console) -> None:
    """Print the answer, what each group of activations did, and a row for each feature."""
    console.print(Text(heading(document), style="bold"))
    console.print(Text(answer(document)))
    console.print(Text("  ".join(f"{name}: {value}" for name, value in settings(document)), style="dim"))
    console.print()
    table = plain_table(*GROUP_COLUMNS, right=(1, 2, 3, 4, 5))
    for row in group_rows(document):
        table.add_row(*map(Text, row))
    console.print(table)
    told = feature_rows(document)
    if told:
        console.print()
        features = plain_table(*FEATURE_COLUMNS, right=(2, 3, 4, 5, 6))
        for line in told:
            name, here, *cells, verdict = map(Text, line.cells)
            here.truncate(_WIDEST, overflow="ellipsis")
            verdict.stylize(_STYLES[line.verdict])
            features.add_row(name, here, *cells, verdict)
        console.print(features)
    for why_not in abstained(document):
        console.print(Text(why_not))
    console.print()
    for note in notes(document):
        console.print(Text(note, style="dim"))
