"""What a reading says of the whole preimage, in a terminal: its size, what may be missing, bits, other epsilons."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from inversionview.report.estimates import best_bits, bits_row, curve_header, curve_rows, share_known
from inversionview.report.reading import facts, printable
from inversionview.report.terminal_tables import plain_table
from inversionview.results.reading import Reading

BAR = 12


def fact_lines(reading: Reading) -> list[Text]:
    """Return a line for the size of the preimage and for each way in which its completeness was estimated."""
    said = facts(reading)
    lines = [Text.assemble((f"{fact.label}: ", "dim"), printable(fact.words)) for fact in said]
    if said and not reading.exact:
        lines.append(Text("in brackets: 95% intervals", style="dim"))
    return lines


def estimate_tables(reading: Reading) -> list[RenderableType]:
    """Return the features of which the preimage tells most, and what other epsilons would give, each under a title."""
    drawn: list[RenderableType] = []
    if reading.bits:
        title = "bits about features: H(feature) − H(feature | preimage)"
        drawn += [Text(title, style="dim"), _bits(reading), Text("")]
    if reading.curve:
        drawn += [Text("other ε", style="dim"), _curve(reading), Text("")]
    return drawn


def _bits(reading: Reading) -> Table:
    table = plain_table("", "", "", "", "", right=(1,), header=False)
    for feature in best_bits(reading.bits):
        bits, of, interval = bits_row(feature, exact=reading.exact)
        bar = "━" * round(BAR * share_known(feature.bits, feature.of))
        table.add_row(Text(printable(feature.name)), bits, of, bar, interval)
    return table


def _curve(reading: Reading) -> Table:
    table = plain_table("", *curve_header(exact=reading.exact), right=(1, 2, 3, 4))
    for ours, cells in curve_rows(reading.curve, reading.epsilon, exact=reading.exact):
        table.add_row("▸" if ours else "", *cells, style="bold" if ours else None)
    return table
