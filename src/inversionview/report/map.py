"""What is said of a map: its signs, and its words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from inversionview.errors import UserError
from inversionview.report.reading import printable, visible
from inversionview.results.map import (
    KNOWN_SHARE,
    LEAST_BITS,
    LITTLE,
    PARTLY,
    Cell,
    Map,
    with_best,
    without_unasked,
)

Level = Literal["known", "partly", "little", "nothing"]
_MARKS: dict[Level, str] = {"known": "●", "partly": "◐", "little": "○", "nothing": "·"}


def level(share: float) -> Level:
    """Return how well a feature is known of which a cell gives this share."""
    if share >= PARTLY:
        return "known" if share >= KNOWN_SHARE else "partly"
    return "little" if share >= LITTLE else "nothing"


def mark(share: float) -> str:
    """Return the sign of a share: known, known partly, a little, or nothing."""
    return _MARKS[level(share)]


def level_of(cell: Cell) -> Level | None:
    """Return how well a cell knows the feature that it knows best; None where nothing was measured."""
    if cell.why_not is not None:
        return None
    return "nothing" if cell.best is None else level(cell.bits[cell.best].share)


def shown(document: Map, feature: str | None = None) -> Map:
    """Return the map without the features that nobody asked for, or with one alone. `UserError` for one it lacks."""
    if feature is None:
        return replace(document, cells=tuple(map(without_unasked, document.cells)))
    there_are = dict.fromkeys(name for cell in document.cells for name in cell.bits)
    if feature not in there_are:
        raise UserError(f"the map has no feature {feature!r}: it has {', '.join(there_are)}")
    only = (replace(cell, bits={n: f for n, f in cell.bits.items() if n == feature}) for cell in document.cells)
    return replace(document, cells=tuple(map(with_best, only)))


def rows(document: Map) -> Iterator[tuple[str, list[Cell | None]]]:
    """Yield each site with its cells in the order of the named positions; None where there is no cell."""
    cells = {(cell.site, cell.at): cell for cell in document.cells}
    for site in document.sites:
        yield site, [cells.get((site, at)) for at in document.ats]


def first_known(document: Map) -> dict[str, dict[str, str]]:
    """For each feature, and each named position where some site knows it, the first such site.

    Sites are in the order of the map, which is the order in which the model computes them.
    """
    order = {site: i for i, site in enumerate(document.sites)}
    first: dict[str, dict[str, str]] = {}
    for cell in sorted(document.cells, key=lambda cell: order.get(cell.site, len(order))):
        for name in cell.knows:
            first.setdefault(name, {}).setdefault(cell.at, cell.site)
    features = dict.fromkeys(name for cell in document.cells for name in cell.bits)
    return {name: first[name] for name in features if name in first}


MANY_SITES = 40
"""Of a map with more, a terminal shows the strongest cells alone."""
_STRONGEST = 6
"""Cells of each feature that it shows."""


def strongest(document: Map) -> dict[str, list[Cell]]:
    """For each feature, the cells that give most of it, those with at least `LEAST_BITS`; best known features first."""
    features = dict.fromkeys(name for cell in document.cells for name in cell.bits)
    found: dict[str, list[Cell]] = {}
    for name in features:
        cells = [cell for cell in document.cells if name in cell.bits and cell.bits[name].bits >= LEAST_BITS]
        found[name] = sorted(cells, key=lambda cell: -cell.bits[name].bits)[:_STRONGEST]
    shown = [name for name in features if found[name]]
    return {name: found[name] for name in sorted(shown, key=lambda name: -found[name][0].bits[name].share)}


def heading(document: Map) -> str:
    """Say what the map is of."""
    name = printable(document.study)
    if document.input is None:
        return f"{name}: what each activation knows, in bits"
    return f"{name}, {printable(document.input)}: what each activation of this input knows, in bits"


def marks() -> list[tuple[str, float, str]]:
    """Return each sign in a cell, the share it begins at, and what it means."""
    return [
        ("●", 1.0, f"at least {KNOWN_SHARE:.0%} of the feature's entropy"),
        ("◐", (KNOWN_SHARE + PARTLY) / 2, f"at least {PARTLY:.0%}"),
        ("○", (PARTLY + LITTLE) / 2, f"at least {LITTLE:.0%}"),
        ("·", 0.0, f"under {LITTLE:.0%} of every feature"),
    ]


def notes(document: Map) -> list[str]:
    """Say what a cell holds, by which rule its feature is chosen, and what was measured."""
    mean = "" if document.input is not None else ", averaged over queries"
    blank = " Blank: no such position." if any(None in cells for _, cells in rows(document)) else ""
    of = "H(feature) − H(feature | preimage)"
    if document.estimator == "log score":
        of = "log₂ P(value | members) / P(value) of the query's own value"
    lower = "" if document.exact else " A lower bound: few members make it low, never high."
    return [
        f"Each cell: the feature it knows best, and the bits it gives about it: {of}{mean}.{lower}{blank}",
        f"Best: of the features known to at least {KNOWN_SHARE:.0%} of their entropy, the one with the most bits; "
        "where there is none, the one known to the largest share. Dim: the token there gives it by itself.",
        _measured(document),
        *_alone(document),
        *([printable(document.warning)] if document.warning else []),
        *(document.site_notes or ()),
    ]


FEW = 10
"""Inputs inside ε, in the mean over queries, below which an entropy says little about any one feature."""


def _alone(document: Map) -> list[str]:
    """Say where preimages are little more than their queries, of which every feature comes out as known."""
    if document.domain is None or document.estimator == "log score":
        return []
    sizes = [cell.log2_domain_over_preimage for cell in document.cells]
    few = sum(bits is not None and document.domain < FEW * 2**bits for bits in sizes)
    if not few:
        return []
    return [
        f"In {few:,} of {len(sizes):,} cells fewer than {FEW} inputs are inside ε: there any feature of the input "
        "comes out as known, one dealt out by chance too. A larger ε, or one that is measured (--epsilon null:0.02), "
        "tells which the activation gives."
    ]


def _measured(document: Map) -> str:
    domain = document.domain
    prior = "the task's own" if domain is None else f"uniform over the {domain:,} inputs"
    n = document.queries
    queries = f"{n:,} random {'query' if n == 1 else 'queries'} a cell (seed {document.seed})"
    if where := document.where:
        queries += f", where {printable(where)}"
    metric = {"euclidean": "normalised Euclidean distance", "cosine": "cosine distance"}[document.metric]
    parts = [
        f"Prior: {prior}.",
        f"{queries}." if document.input is None else "One query a cell.",
        f"{_epsilon(document)}, {metric}, every input at the same named position.",
        "Exact preimages." if document.exact else _sampled(document),
    ]
    return " ".join(parts)


def _sampled(document: Map) -> str:
    if document.bank is not None:
        words = f"From a bank of {document.bank:,} inputs, in which a query is no member of its own preimage"
        silent = [cell for cell in document.cells if cell.why_not]
        return f"{words}. {len(silent):,} of {len(document.cells):,} cells had too few members to say anything."
    words = "About: preimages were sampled, out"
    words += f" of {document.drawn:,} inputs drawn from the prior" if document.drawn is not None else " of draws"
    if given := document.drawn_given:
        words += f", and {given:,} a query that share something with it"
    silent = [cell for cell in document.cells if cell.why_not]
    if silent:
        words += f". ? : too few members were drawn to say anything ({len(silent):,} of {len(document.cells):,})"
    return f"{words}."


def _epsilon(document: Map) -> str:
    rule = printable(document.epsilon_rule)
    by = "" if rule[:1].isdigit() or rule[:1] == "." else f" ({rule})"
    if document.epsilon is not None:
        return f"ε = {document.epsilon:.4g}{by}"
    own = sorted(cell.epsilon for cell in document.cells if cell.epsilon is not None)
    return f"ε from {own[0]:.4g} to {own[-1]:.4g}{by}" if own else f"ε by {rule}"


def place(cell: Cell) -> str:
    """Return site and named position of a cell."""
    return f"{printable(cell.site)} at {visible(cell.at)}"
