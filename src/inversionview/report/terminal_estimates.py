"""What stands behind a reading, in a terminal: estimates, bits of every feature, other epsilons, sources, settings."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from inversionview.report.estimates import bits_row, curve_header, curve_rows, share_known
from inversionview.report.reading import facts, printable, settings, source_lines
from inversionview.report.terminal_lines import ramp
from inversionview.report.terminal_tables import plain_table
from inversionview.results.reading import Reading

BAR = 12


def render_details(reading: Reading, console: Console) -> None:
    """Print the estimates, bits about every feature, what other ε would give, the sources, and the settings."""
    console.print()
    for part in _parts(reading):
        console.print(part)
    colored = any(sample.colors for sample in reading.samples)
    if colored and console.color_system is not None and not console.no_color:
        console.print(Text.assemble("lowered ", *ramp(), " raised  ", (printable(reading.colors_about), "dim")))


def _parts(reading: Reading) -> Iterator[RenderableType]:
    for fact in facts(reading):
        yield Text.assemble((f"{fact.label}: ", "dim"), printable(fact.words))
    if not reading.exact:
        yield Text("in brackets: 95% intervals", style="dim")
    yield Text("")
    if reading.bits:
        yield Text("bits about features: H(feature) − H(feature | preimage)", style="dim")
        yield _bits(reading)
        yield Text("")
    if reading.curve:
        yield Text("other ε", style="dim")
        yield _curve(reading)
        yield Text("")
    for name, words, _ in source_lines(reading):
        yield Text.assemble(printable(name), (f"  {words}", "dim"))
    for name, value in settings(reading):
        yield Text.assemble((f"{name}: ", "dim"), value)


def _bits(reading: Reading) -> Table:
    table = plain_table("", "", "", "", "", right=(1,), header=False)
    for feature in sorted(reading.bits, key=lambda feature: -feature.bits):
        bits, of, interval = bits_row(feature, exact=reading.exact)
        bar = "━" * round(BAR * share_known(feature.bits, feature.of))
        table.add_row(Text(printable(feature.name)), bits, of, bar, interval)
    return table


def _curve(reading: Reading) -> Table:
    table = plain_table("", *curve_header(exact=reading.exact), right=(1, 2, 3, 4))
    for ours, cells in curve_rows(reading.curve, reading.epsilon, exact=reading.exact):
        table.add_row("▸" if ours else "", *cells, style="bold" if ours else None)
    return table
