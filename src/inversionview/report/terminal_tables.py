"""Tables of measurements in a terminal: tested hypotheses, and how well estimators did against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inversionview.report.estimates import percent, share_words
from inversionview.report.reading import printable
from inversionview.results.evaluation import Validation
from inversionview.results.hypotheses import HypothesisTest


def render_hypotheses_terminal(tests: Sequence[HypothesisTest], console: Console) -> None:
    """Print a row for each hypothesis, its controls below, and why the others could not be tested."""
    tested = [test for test in tests if not test.why_not]
    if tested:
        console.print(_hypotheses(tested))
        console.print()
        for line in _controls(tested):
            console.print(line)
        tried = max(test.sites_tried for test in tested)
        console.print(Text(_how_tested(tried), style="dim"))
    for test in tests:
        if test.why_not:
            console.print(Text(printable(f"{_name(test)}: not tested, because {test.why_not}")))


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


def plain_table(*names: str, right: Iterable[int] = (), header: bool = True) -> Table:
    """Return a table without lines; the columns at the indices `right` are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=header)
    numeric = set(right)
    for i, name in enumerate(names):
        table.add_column(Text(printable(name)), justify="right" if i in numeric else "left", overflow="fold")
    return table


def _name(test: HypothesisTest) -> str:
    return f"{test.name}, {test.site} at {test.at}"


def _hypotheses(tests: Sequence[HypothesisTest]) -> Table:
    table = plain_table("hypothesis", "place", "holds for", "members", "base rate", "lift", "p", right=(3, 4, 5, 6))
    for test in tests:
        cells = (
            test.name,
            f"{test.site} at {test.at}",
            "–" if test.consistency is None else share_words(test.consistency, test.interval),
            f"{test.members:,}",
            percent(test.base_rate),
            "–" if test.lift is None else f"{test.lift:.2f}",
            _p_value(test),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _p_value(test: HypothesisTest) -> str:
    p = test.p_value if test.p_corrected is None else test.p_corrected
    return "–" if p is None else f"{p:.2g}"


def _controls(tests: Sequence[HypothesisTest]) -> list[Text]:
    lines = []
    for test in tests:
        shares = (
            f"{name} {'–' if control.consistency is None else percent(control.consistency)}"
            for name, control in test.controls.items()
        )
        lines.append(Text.assemble((f"controls of {printable(_name(test))}: ", "dim"), printable(" · ".join(shares))))
    return [line for line, test in zip(lines, tests, strict=True) if test.controls]


def _how_tested(tried: int) -> str:
    corrected = f", corrected for {tried:,} sites tried" if tried > 1 else ""
    return f"in brackets: 95% intervals (Clopper-Pearson); p by permutation against random queries{corrected}"


def _measure(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g} {unit}".rstrip()
