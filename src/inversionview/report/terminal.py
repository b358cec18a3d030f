"""Draw readings and measurements in a terminal with rich: as wide as the console, and readable without colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inversionview.report.answer import answer_of
from inversionview.report.reading import printable
from inversionview.report.terminal_answer import LABEL, answer_lines, last_lines
from inversionview.report.terminal_estimates import render_details
from inversionview.report.terminal_lines import Rows, row_lines, rows_of
from inversionview.report.terminal_tables import plain_table
from inversionview.results.evaluation import Evaluation, Rate, Rates
from inversionview.results.reading import Reading

LINES = 25
"""Lines of a reading without its details, where the console is 80 cells wide."""
_LEAST_ROWS, _ROWS = 3, 12
"""Rows of a reading, the fewest and the most."""
_RULES = ("any", "same")


def render_terminal(
    reading: Reading, console: Console, *, rows: Rows = "typical", limit: int | None = None, details: bool = False
) -> None:
    """Print what a reading says, answer first, and at most `limit` rows; left out, as many as `LINES` have room for.

    `details` adds the estimates, the sources, what was drawn how often and how probably, other ε, and the settings.
    """
    answer, width = answer_of(reading), console.width
    lines = answer_lines(answer, width)
    last = last_lines(answer, width, misses=rows != "misses")
    asked = bool(reading.features and reading.query.tokens)
    room = _ROWS if details else min(_ROWS, max(_LEAST_ROWS, LINES - 1 - asked - len(lines) - len(last)))
    if shown := rows_of(reading, rows)[: room if limit is None else max(0, limit)]:
        title = {"typical": answer.rows, "nearest": "nearest first", "misses": "near misses, nearest first"}[rows]
        head = f"{'ROWS':{LABEL}}{title} (ε = {reading.epsilon:g})"
        tinted = console.color_system is not None and not console.no_color
        lines += row_lines(reading, shown, head, width, details=details, tinted=tinted)
    for line in [*lines, *last]:
        console.print(line, no_wrap=True, overflow="crop", soft_wrap=False)
    if details:
        render_details(reading, console)


def render_evaluation_terminal(evaluation: Evaluation, console: Console) -> None:
    """Print the rates of each site beside their floors, a bar for each, and the mean in the last row."""
    limit = "its own ε" if evaluation.epsilon is None else f"ε = {evaluation.epsilon:g}"
    title = f"{printable(evaluation.study)}: share of decoder samples inside {limit}"
    console.print(Text(title, style="bold"))
    console.print(Text("floor, and │ in a bar: the share that random inputs of the domain get\n", style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("site")
    roomy = console.width >= 12 + 42 * len(_RULES)
    for rule in _RULES:
        table.add_column(f"{rule} position", justify="right", no_wrap=True)
        table.add_column("floor", justify="right", no_wrap=True)
        if roomy:
            table.add_column("", no_wrap=True)
    for site, rates in evaluation.sites.items():
        own = "" if rates.epsilon is None else f" (ε {rates.epsilon:.3g})"
        table.add_row(printable(site) + own, *_rate_cells(rates, roomy))
    table.add_section()
    table.add_row("mean", *_rate_cells(evaluation.mean, roomy), style="bold")
    console.print(table)
    console.print()
    console.print(f"decoder samples in the domain  {evaluation.in_domain:.2%}", highlight=False)
    if reach := evaluation.completeness:
        error = "" if reach.se is None else f" ± {reach.se:.2%}"
        words = f"reach of {reach.draws:,} samples, over the exact preimages of {reach.cells:,} random queries"
        console.print(f"{words}  {reach.reach:.2%}{error}", highlight=False)
    console.print(f"probed model, exact match on held-out inputs  {evaluation.accuracy:.2%}", highlight=False)


def render_table(rows: Sequence[Mapping[str, object]], console: Console) -> None:
    """Print rows of named values, such as the studies there are; numbers are set to the right."""
    if not rows:
        return
    numeric = (i for i, name in enumerate(rows[0]) if all(isinstance(row[name], int | float) for row in rows))
    table = plain_table(*rows[0], right=numeric)
    for row in rows:
        table.add_row(*(Text(_cell(row[name])) for name in rows[0]))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value))


def _rate_cells(rates: Rates, roomy: bool) -> list[str]:
    cells = []
    for rule in _RULES:
        rate: Rate = getattr(rates, rule)
        error = "" if rate.se is None else f" ± {rate.se:.3f}"
        cells += [f"{rate.rate:.3f}{error}", f"{rate.floor:.3f}"]
        cells += [_rate_bar(rate, 16)] if roomy else []
    return cells


def _rate_bar(rate: Rate, length: int) -> str:
    filled, floor = round(length * rate.rate), min(length - 1, int(length * rate.floor))
    bar = ("━" * filled).ljust(length)
    return bar[:floor] + ("┿" if filled > floor else "│") + bar[floor + 1 :]
