"""Tables of measurements in a terminal: tested hypotheses, and how well estimators did against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inversionview.report.estimates import percent
from inversionview.report.hypotheses import sentence, verdict
from inversionview.report.reading import printable
from inversionview.results.evaluation import Validation
from inversionview.results.hypotheses import HypothesisTest


def render_hypotheses_terminal(tests: Sequence[HypothesisTest], console: Console) -> None:
    """Print the verdict on each hypothesis, what it goes by, and what a look at anything else would have found."""
    for test in tests:
        about = f"{test.name}, {test.site} at {test.at}: "
        console.print(Text.assemble((printable(about), "bold"), (verdict(test), "bold reverse")))
        console.print(Text(printable(sentence(test))))
        if test.consistency is not None:
            console.print(Text(f"elsewhere: {printable(_elsewhere(test))}", style="dim"))
    if any(test.p_value is not None for test in tests):
        how = "In brackets: 95% intervals (Clopper-Pearson). p: by permutation against random queries."
        console.print(Text(how, style="dim"))


def render_validation_terminal(document: Validation, console: Console, *, targets: Sequence[str] = ()) -> None:
    """Print a row for each estimator, what the columns mean, and the targets that were set beforehand."""
    title = f"{printable(document.study)}: estimators against the exact preimages"
    console.print(Text(title, style="bold"))
    names = ("estimator", "of", "answered", "coverage", "width", "error", "kept")
    table = plain_table(*names, right=(2, 3, 4, 5))
    for row in document.estimators:
        answered = f"{row.answered:,} of {row.cells:,}"
        sizes = (_measure(row.median_width, row.unit), _measure(row.median_error, row.unit))
        words = (row.estimator, row.quantity, answered, percent(row.coverage), *sizes)
        table.add_row(*(Text(printable(word)) for word in (*words, "yes" if row.kept else "no")))
    console.print(table)
    about = "coverage: cells whose 95% interval held the truth, no answer counts as a failure; width, error: medians"
    console.print(Text(about, style="dim"))
    for target in targets:
        console.print(Text(f"target: {printable(target)}", style="dim"))


def render_heads_terminal(heads: Sequence[tuple[str, float, float]], console: Console) -> None:
    """Print a row for each head: how often it counts, and its mean share of what its layer brings."""
    table = plain_table("head", "counts for", "mean share", right=(1, 2))
    for site, counts, share in heads:
        table.add_row(printable(site), percent(counts), f"{share:.3f}")
    console.print(table)


def plain_table(*names: str, right: Iterable[int] = (), header: bool = True, whole: Iterable[int] = ()) -> Table:
    """Return a table without lines; the columns at the indices `right` are set to the right.

    Those at `whole` are as wide as what is in them, with two lines for a name of several words.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=header)
    numeric, never_broken = set(right), set(whole)
    for i, name in enumerate(names):
        fixed = i in never_broken
        words = "\n".join(printable(name).rsplit(" ", 1)) if fixed else printable(name)
        justify: Literal["left", "right"] = "right" if i in numeric else "left"
        table.add_column(Text(words), justify=justify, overflow="fold", no_wrap=fixed)
    return table


def _elsewhere(test: HypothesisTest) -> str:
    shares = [f"all inputs {percent(test.base_rate)}"]
    for name, control in test.controls.items():
        shares.append(f"{name} {'–' if control.consistency is None else percent(control.consistency)}")
    return " · ".join(shares)


def _measure(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g} {unit}".rstrip()
