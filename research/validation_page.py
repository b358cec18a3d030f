"""Makes the page on how often the estimates hold, from what `inversionview validate addition --json` printed.

`make docs` writes it. Every number comes from the document; the sentences say by which rule.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from inversionview.report.estimates import percent
from inversionview.studies.verbs.validate import COVERAGE
from research import markdown
from research.documents import Document, load

NAME = "validation-addition"
SLACK = 1e-6
"""As `validate` allows: the rounding of an interval that is a point."""
WIDEST_SIZE, LEAST_MARGINALS, LEAST_BITS = 1.0, 0.8, 0.9
"""Targets: the median width of a size in bits, and the shares of pairs that are close to the truth."""
SIZES = ("members", "found", "effective size")
WORST = 10
"""Cells that are listed with their largest total variation."""


class Miss(NamedTuple):
    """An estimate of one cell whose interval did not hold the truth, or that was not given."""

    cell: Document
    truth: float
    value: float | None
    interval: Sequence[float | None] | None

    @property
    def by(self) -> float:
        """How far the truth lies outside; infinite for no answer."""
        if self.value is None or self.interval is None:
            return float("inf")
        low, high = self.interval
        below = 0.0 if low is None else low - self.truth
        above = 0.0 if high is None else self.truth - high
        return max(below, above)


def page(document: Document | None = None) -> str:
    """The page as Markdown, for a document of `inversionview validate --json`."""
    document = load(NAME) if document is None else document
    names = ("study", "n", "prior_share", "epsilon", "metric", "position_rule", "seed")
    return markdown.page(
        "validation",
        **{name: document[name] for name in names},
        cells=len(document["cells"]),
        temperatures=" and ".join(f"{t:g}" for t in document["temperatures"]),
        coverage=COVERAGE,
        targets=_targets(document),
        estimators=_estimators(document["estimators"]),
        closeness=_closeness(document),
        sizes=_sizes(document),
        failures=markdown.joined(_failures(document["cells"], document["estimators"])),
        command=_command(document),
    )


def _targets(document: Document) -> str:
    rows, close = document["estimators"], document["marginals"]
    least = min(rows, key=lambda row: row["coverage"])
    width = next(row for row in rows if row["estimator"] == "size")["median_width"]
    marginals, bits = close["within_total_variation"], close["within_bits"]
    pairs = "(cell, feature) pairs within"
    targets = (
        (f"truths held by the intervals; least by those of {_name(least)}", f"at least {COVERAGE:.0%}",
         percent(least["coverage"]), least["coverage"] >= COVERAGE),
        ("median width of the interval of a size", f"at most {WIDEST_SIZE:g} bit",
         _number(width, "bits"), width is not None and width <= WIDEST_SIZE),
        (f"{pairs} {close['total_variation']:g} total variation", f"at least {LEAST_MARGINALS:.0%}",
         percent(marginals), marginals >= LEAST_MARGINALS),
        (f"{pairs} {close['bits']:g} bit", f"at least {LEAST_BITS:.0%}", percent(bits), bits >= LEAST_BITS),
    )  # fmt: skip
    verdicts = ((*words, "met" if met else "**missed**") for *words, met in targets)
    return markdown.table(("what", "target", "measured", ""), verdicts)


def _estimators(rows: Sequence[Document]) -> str:
    columns = ("estimate", "answered", "truth held", "median width", "median error", "kept")
    return markdown.table(
        columns,
        (
            (_name(row), f"{row['answered']:,} of {row['cells']:,}", percent(row["coverage"]),
             *(_number(row[key], row["unit"]) for key in ("median_width", "median_error")),
             "yes" if row["kept"] else "**no**")
            for row in rows
        ),
    )  # fmt: skip


def _closeness(document: Document) -> str:
    close, cells = document["marginals"], document["cells"]
    marginals, bits = percent(close["within_total_variation"]), percent(close["within_bits"])
    overall = (
        f"Over {close['pairs']:,} pairs of a cell and a feature that varies: in {marginals} the feature's distribution "
        f"in the weighted sample is within {close['total_variation']:g} total variation of the exact one (median "
        f"{close['median_total_variation']:.3g}), and in {bits} the bits are within {close['bits']:g} of the exact "
        f"ones (median error {_number(close['median_bits_error'], 'bits')})."
    )
    far = [cell for cell in cells if cell["largest_total_variation"] > close["total_variation"]]
    some = f"In {len(far):,} of {len(cells):,} cells some feature is further off"
    if not far:
        return markdown.joined([overall, f"{some}."])
    worst = sorted(far, key=lambda cell: -cell["largest_total_variation"])[:WORST]
    rows = [(_place(cell), f"{cell['largest_total_variation']:.3f}", *_sizes_of(cell)) for cell in worst]
    table = markdown.table(("cell", "largest total variation", *SIZES), rows)
    return markdown.joined([overall, f"{some}. The worst:", table])


def _sizes(document: Document) -> str:
    quantiles = list(document["inside"])
    names = [{"p10": "10%", "p90": "90%"}.get(quantile, quantile) for quantile in quantiles]
    kinds = {"members of the exact preimage": "inside", "effective size": "effective_size"}
    rows = [(name, *(_count(document[key][quantile]) for quantile in quantiles)) for name, key in kinds.items()]
    return markdown.table(["", *names], rows)


def _failures(cells: Sequence[Document], rows: Sequence[Document]) -> Iterator[str]:
    by_name = {row["estimator"]: row for row in rows}
    for name in dict.fromkeys(name for cell in cells for name in cell["estimates"]):
        row = by_name[name.partition(",")[0]]
        missed = sorted(_missed(cells, name), key=lambda miss: -miss.by)
        yield f"### {_name(row)[0].upper()}{_name(row)[1:]}: {len(missed):,} of {row['cells']:,}"
        if missed:
            yield markdown.table(("cell", "truth", "estimate", "interval", *SIZES), map(_failure, missed))


def _missed(cells: Sequence[Document], name: str) -> list[Miss]:
    estimates = ((cell, cell["estimates"].get(name)) for cell in cells)
    answers = [Miss(cell, one["truth"], one["value"], one["interval"]) for cell, one in estimates if one is not None]
    return [miss for miss in answers if miss.by > SLACK]


def _failure(miss: Miss) -> Sequence[str]:
    ends = "–" if miss.interval is None else " to ".join("∞" if end is None else f"{end:.3f}" for end in miss.interval)
    value = "none" if miss.value is None else f"{miss.value:.3f}"
    return _place(miss.cell), f"{miss.truth:.3f}", value, ends, *_sizes_of(miss.cell)


def _place(cell: Document) -> str:
    return f"`{cell['input']}` at `{cell['at']}`, `{cell['site']}`"


def _sizes_of(cell: Document) -> list[str]:
    return [_count(cell[key]) for key in ("inside", "found", "effective_size")]


def _name(row: Document) -> str:
    return f"{row['estimator']}" + ("" if row["quantity"] == "share" else f" ({row['quantity']})")


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g}" if unit == "share" else f"{value:.3g} {unit}"


def _count(value: float) -> str:
    # Where every member was sure to be drawn, the effective size is as good as infinite.
    return "over 10⁸" if value > 1e8 else f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"


def _command(document: Document) -> str:
    temperatures = ",".join(f"{t:g}" for t in document["temperatures"])
    words = ["inversionview", "validate", document["study"], "--cells", str(len(document["cells"]))]
    words += ["-n", str(document["n"]), "--temperatures", temperatures]
    words += ["--prior-share", f"{document['prior_share']:g}", "--seed", str(document["seed"]), "--json"]
    return shlex.join(words)
