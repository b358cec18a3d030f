"""Draw readings and measurements in a terminal with rich: as wide as the console, and readable without colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inversionview.report.reading import (
    Groups,
    group,
    headline,
    printable,
    settings,
    shares,
    source_lines,
    summary,
    visible,
)
from inversionview.report.terminal_estimates import estimate_tables, fact_lines
from inversionview.report.terminal_lines import ramp, sample_lines
from inversionview.report.terminal_tables import plain_table
from inversionview.results.evaluation import Evaluation, Rate, Rates
from inversionview.results.reading import Reading

_RULES = ("any", "same")


def render_terminal(reading: Reading, console: Console, *, limit: int = 12, near: int = 4) -> None:
    """Print at most `limit` members and `near` near misses to the console, and how many are left out."""
    groups = group(reading)
    shown = Groups(groups.members[: max(limit, 0)], groups.near[: max(near, 0)], [])
    query = reading.query
    place = f"{printable(reading.site)} at {visible(query.at)}"
    facts = " · ".join(f"{name} {value}" for name, value in settings(reading))
    console.print(Text(f"{place} · {headline(reading)}", style="bold"))
    console.print(Text(summary(reading)))
    for fact in fact_lines(reading):
        console.print(fact)
    where = f"position {query.position}" if query.tokens else "a vector"
    console.print(Text(f"{printable(reading.study)}, {where} · {facts}", style="dim"))
    console.print()
    for line in sample_lines(reading, groups.members, shown, console.width):
        console.print(line, no_wrap=True, overflow="crop", soft_wrap=False)
    console.print()
    for note in (_left_out(reading, shown), _legend(reading, groups, console)):
        if note:
            console.print(note)
    if tables := estimate_tables(reading):
        console.print()
    for part in tables:
        console.print(part)
    for source in _sources(reading):
        console.print(source)


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


def _left_out(reading: Reading, shown: Groups) -> Text | None:
    counts = reading.counts
    parts = [
        (counts.inside - len(shown.members), "more inside ε"),
        (counts.in_domain - counts.inside - len(shown.near), "more outside ε"),
        (counts.distinct - counts.in_domain, "not in the domain"),
    ]
    words = ", ".join(f"{count:,} {what}" for count, what in parts if count > 0)
    return Text(f"Not shown: {words}.", style="dim") if words else None


def _legend(reading: Reading, groups: Groups, console: Console) -> Text:
    legend = Text("[ ] position read", style="dim")
    if shares(reading, groups.members):
        legend.append("   ▁ to █ share of members with the query's token there")
    colored = any(sample.colors for sample in reading.samples)
    if colored and console.color_system is not None and not console.no_color:
        scale = Text.assemble("lowered ", *ramp(), " raised  ", (printable(reading.colors_about), "dim"))
        return Text("\n").join([legend, scale])
    return legend


def _sources(reading: Reading) -> list[Text]:
    return [Text.assemble(printable(name), (f"  {words}", "dim")) for name, words, _ in source_lines(reading)]
