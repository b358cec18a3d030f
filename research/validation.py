"""Makes the page on how often the estimates hold, from what `inversionview validate addition --json` printed.

`make docs` writes it. Every number comes from the document; the sentences say by which rule.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inversionview.report.estimates import percent
from inversionview.studies.verbs.validate import COVERAGE
from research.paths import RESULTS

FILE = RESULTS / "validation-addition.json"
SLACK = 1e-6
"""As `validate` allows: the rounding of an interval that is a point."""
WIDEST_SIZE, LEAST_MARGINALS, LEAST_BITS = 1.0, 0.8, 0.9
"""Targets: the median width of a size in bits, and the shares of pairs that are close to the truth."""
WORST = 10
"""Cells that are listed with their largest total variation."""


class Miss(NamedTuple):
    """An estimate of one cell whose interval did not hold the truth, or that was not given."""

    cell: dict[str, Any]
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


def page() -> str:
    """The page as Markdown."""
    return of(json.loads(FILE.read_text(encoding="utf-8")))


def of(document: dict[str, Any]) -> str:
    """The page for a document of `inversionview validate --json`."""
    cells = document["cells"]
    parts = [
        "# How often the estimates hold\n",
        INTRODUCTION.format(
            cells=f"{len(cells):,}",
            n=f"{document['n']:,}",
            temperatures=" and ".join(f"{t:g}" for t in document["temperatures"]),
            prior=f"{document['prior_share']:.0%}",
            epsilon=f"{document['epsilon']:g}",
            rule=document["position_rule"],
            metric=document["metric"],
            seed=document["seed"],
            study=document["study"],
        ),
        "## The targets\n",
        *_targets(document),
        "## The intervals\n",
        INTERVALS.format(coverage=f"{COVERAGE:.0%}"),
        *_estimators(document["estimators"]),
        "## The weighted sample as a whole\n",
        *_closeness(document),
        "## Sizes\n",
        *_sizes(document),
        "## The cells that failed\n",
        *_failures(cells, document["estimators"]),
        "## How to make this page again\n",
        HOW.format(command=_command(document)),
    ]
    return "\n".join(parts)


def _targets(document: dict[str, Any]) -> Iterator[str]:
    rows, close = document["estimators"], document["marginals"]
    least = min(rows, key=lambda row: row["coverage"])
    size = next(row for row in rows if row["estimator"] == "size")
    width = size["median_width"]
    yield "They were set before anything was measured.\n"
    yield "| what | target | measured | |"
    yield "| --- | --- | --- | --- |"
    yield _target(
        f"truths held by the intervals; least by those of {_name(least)}",
        f"at least {COVERAGE:.0%}",
        percent(least["coverage"]),
        least["coverage"] >= COVERAGE,
    )
    yield _target(
        "median width of the interval of a size",
        f"at most {WIDEST_SIZE:g} bit",
        _number(width, "bits"),
        width is not None and width <= WIDEST_SIZE,
    )
    yield _target(
        f"(cell, feature) pairs within {close['total_variation']:g} total variation",
        f"at least {LEAST_MARGINALS:.0%}",
        percent(close["within_total_variation"]),
        close["within_total_variation"] >= LEAST_MARGINALS,
    )
    yield _target(
        f"(cell, feature) pairs within {close['bits']:g} bit",
        f"at least {LEAST_BITS:.0%}",
        percent(close["within_bits"]),
        close["within_bits"] >= LEAST_BITS,
    )
    yield ""


def _target(what: str, target: str, measured: str, met: bool) -> str:
    return f"| {what} | {target} | {measured} | {'met' if met else '**missed**'} |"


def _estimators(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| estimate | answered | truth held | median width | median error | kept |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        width, error = (_number(row[key], row["unit"]) for key in ("median_width", "median_error"))
        kept = "yes" if row["kept"] else "**no**"
        answered = f"{row['answered']:,} of {row['cells']:,}"
        yield f"| {_name(row)} | {answered} | {percent(row['coverage'])} | {width} | {error} | {kept} |"
    yield ""


def _closeness(document: dict[str, Any]) -> Iterator[str]:
    close, cells = document["marginals"], document["cells"]
    marginals, bits = percent(close["within_total_variation"]), percent(close["within_bits"])
    yield (
        f"Over {close['pairs']:,} pairs of a cell and a feature that varies: in {marginals} the feature's distribution "
        f"in the weighted sample is within {close['total_variation']:g} total variation of the exact one (median "
        f"{close['median_total_variation']:.3g}), and in {bits} the bits are within {close['bits']:g} of the exact "
        f"ones (median error {_number(close['median_bits_error'], 'bits')})."
    )
    far = [cell for cell in cells if cell["largest_total_variation"] > close["total_variation"]]
    yield f"\nIn {len(far):,} of {len(cells):,} cells some feature is further off" + (
        ". The worst:\n" if far else ".\n"
    )
    if far:
        yield "| cell | largest total variation | members | found | effective size |"
        yield "| --- | --- | --- | --- | --- |"
        for cell in sorted(far, key=lambda cell: -cell["largest_total_variation"])[:WORST]:
            yield f"| {_place(cell)} | {cell['largest_total_variation']:.3f} | {_sizes_of(cell)} |"
        yield ""


def _sizes(document: dict[str, Any]) -> Iterator[str]:
    quantiles = list(document["inside"])
    yield "Over cells. The effective size is that of the estimate of the preimage's size.\n"
    yield "| | " + " | ".join({"p10": "10%", "p90": "90%"}.get(name, name) for name in quantiles) + " |"
    yield "| --- |" + " --- |" * len(quantiles)
    for name, key in (("members of the exact preimage", "inside"), ("effective size", "effective_size")):
        yield f"| {name} | " + " | ".join(_count(document[key][q]) for q in quantiles) + " |"
    yield ""


def _failures(cells: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for cell in cells for name in cell["estimates"]))
    yield (
        "Every estimate of a cell whose interval did not hold the truth, no answer first, then the furthest off. The "
        "bits of features are too many to list; the table above counts them.\n"
    )
    by_name = {row["estimator"]: row for row in rows}
    for name in names:
        row = by_name[name.partition(",")[0]]
        missed = sorted(_missed(cells, name), key=lambda miss: -miss.by)
        yield f"### {_name(row)[0].upper()}{_name(row)[1:]}: {len(missed):,} of {row['cells']:,}\n"
        if missed:
            yield "| cell | truth | estimate | interval | members | found | effective size |"
            yield "| --- | --- | --- | --- | --- | --- | --- |"
            yield from (_failure(miss) for miss in missed)
            yield ""


def _missed(cells: Sequence[dict[str, Any]], name: str) -> list[Miss]:
    found = [
        Miss(cell, one["truth"], one["value"], one["interval"])
        for cell in cells
        if (one := cell["estimates"].get(name)) is not None
    ]
    return [miss for miss in found if miss.by > SLACK]


def _failure(miss: Miss) -> str:
    ends = "–" if miss.interval is None else " to ".join("∞" if end is None else f"{end:.3f}" for end in miss.interval)
    value = "none" if miss.value is None else f"{miss.value:.3f}"
    return f"| {_place(miss.cell)} | {miss.truth:.3f} | {value} | {ends} | {_sizes_of(miss.cell)} |"


def _place(cell: dict[str, Any]) -> str:
    return f"`{cell['input']}` at `{cell['at']}`, `{cell['site']}`"


def _sizes_of(cell: dict[str, Any]) -> str:
    return " | ".join(_count(cell[key]) for key in ("inside", "found", "effective_size"))


def _name(row: dict[str, Any]) -> str:
    return f"{row['estimator']}" + ("" if row["quantity"] == "share" else f" ({row['quantity']})")


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g}" if unit == "share" else f"{value:.3g} {unit}"


def _count(value: float) -> str:
    # Where every member was sure to be drawn, the effective size is as good as infinite.
    return "over 10⁸" if value > 1e8 else f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"


def _command(document: dict[str, Any]) -> str:
    temperatures = ",".join(f"{t:g}" for t in document["temperatures"])
    words = ["inversionview", "validate", document["study"], "--cells", str(len(document["cells"]))]
    words += ["-n", str(document["n"]), "--temperatures", temperatures]
    words += ["--prior-share", f"{document['prior_share']:g}", "--seed", str(document["seed"]), "--json"]
    return shlex.join(words)


INTRODUCTION = """\
For {cells} random activations of the study `{study}`, every estimate of [completeness](completeness.md) beside what
enumeration of the whole domain says. The cells are sums from the prior, each at a random position, the sites in turn
(seed {seed}). For each, {n} draws: {prior} from the prior, the others from the decoder at temperatures {temperatures};
ε = {epsilon}, metric `{metric}`, rule `{rule}`. This page is generated from what one command printed.
"""
INTERVALS = """\
Each estimate has an interval that is said to hold the truth 95 times in 100. An estimate that was not given counts as
one that failed. One whose intervals hold less than {coverage} of the truths is not kept.

The truths were counted, but for one: the unseen mass would take the decoder's probability of every member, and was
estimated instead, from the draws of the other components. That misses a little too, so its intervals hold the truth, if
anything, more often than is shown.
"""
HOW = """\
```sh
{command}
```

prints the document; as `research/results/validation-addition.json`, it is what `make docs` makes this page of.
"""
