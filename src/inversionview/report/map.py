"""A map of a study: bits about each named feature at every site and named position; its rules, and its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NotRequired, TypedDict

from inversionview.report.estimates import share_known
from inversionview.report.reading import printable, visible

KNOWN_SHARE = 0.9
"""A cell knows a feature of which it gives at least this share of the entropy."""
PARTLY = 0.5
"""It knows a feature partly from this share on."""
LEAST_BITS = 0.05
"""Features with fewer bits are not shown."""


class FeatureBits(TypedDict):
    """Bits about one feature: H(feature) − H(feature | preimage), a mean over queries or of one query."""

    bits: float
    of: float
    """H(feature) under the prior, of the inputs that have the cell's position."""
    se: float | None
    """Standard error of the mean over queries; None for one query."""
    divergence: float
    """KL(feature | preimage ‖ feature) in bits: never negative, where bits of one query may be."""


class Measured(TypedDict):
    """What was measured at one site and named position."""

    site: str
    at: str
    queries: int
    log2_domain_over_preimage: float | None
    """Bits about the whole input; None, and no `bits`, where `why_not` says why."""
    se: float | None
    bits: Mapping[str, FeatureBits]
    epsilon: NotRequired[float]
    """Where the rule gives each cell its own."""
    members: NotRequired[float]
    """In a sampled map, the effective number of members of the query that has the fewest."""
    why_not: NotRequired[str]


class Cell(Measured):
    """A cell of the map, with what it knows."""

    knows: list[str]
    """Features with a share of at least `KNOWN_SHARE`, most bits first."""
    best: str | None
    """What `best_feature` finds."""


class Map(TypedDict):
    """The document that `inversionview map --json` prints."""

    schema: int
    study: str
    task: str
    input: str | None
    """The one input whose activations were read; None for a mean over random queries."""
    where: NotRequired[str | None]
    """The condition that the random queries meet."""
    epsilon: float | None
    """None where each cell has its own."""
    epsilon_rule: str
    """As given: `0.1`, `null:0.01`."""
    metric: Literal["euclidean", "cosine"]
    position_rule: Literal["same"]
    queries: int
    """A cell; 1 for one input."""
    seed: int
    exact: bool
    domain: int | None
    """Inputs of the domain, where the prior is uniform over them."""
    drawn: NotRequired[int]
    """In a sampled map, the inputs drawn from the prior."""
    drawn_given: NotRequired[int]
    """And those drawn for each query from the prior given what they share with it."""
    sites: list[str]
    ats: list[str]
    """Named positions, in order."""
    cells: list[Cell]


def best_feature(cell: Measured) -> str | None:
    """Return the feature that a cell knows best; None where every feature has less than `LEAST_BITS`.

    Of the features of which the cell knows at least `KNOWN_SHARE`, it is the one with the most bits; where there is
    none, the one with the largest share. Bits alone would favour features with many values that are half known, shares
    alone cannot tell apart those that are known whole. Ties go to the first.
    """
    known = known_features(cell)
    if known:
        return known[0]
    shares = {name: round(share(f), 6) for name, f in cell["bits"].items() if f["bits"] >= LEAST_BITS}
    return max(shares, key=lambda name: shares[name], default=None)


def known_features(cell: Measured) -> list[str]:
    """Return the features of which a cell knows at least `KNOWN_SHARE`, most bits first; ties in the order given."""
    bits = cell["bits"]
    known = [name for name, f in bits.items() if f["bits"] >= LEAST_BITS and share(f) >= KNOWN_SHARE]
    return sorted(known, key=lambda name: -round(bits[name]["bits"], 6))  # equal ones differ by rounding errors


def with_best(cell: Measured) -> Cell:
    """Return a cell with what it knows added."""
    return {**cell, "knows": known_features(cell), "best": best_feature(cell)}


def share(feature: FeatureBits) -> float:
    """Return bits as a share of the feature's entropy, in [0, 1]."""
    return share_known(feature["bits"], feature["of"])


def mark(known: float) -> str:
    """Return the sign of a share: known, known partly, or less."""
    return "●" if known >= KNOWN_SHARE else "◐" if known >= PARTLY else "○"


def rows(document: Map) -> Iterator[tuple[str, list[Cell | None]]]:
    """Yield each site with its cells in the order of the named positions; None where there is no cell."""
    cells = {(cell["site"], cell["at"]): cell for cell in document["cells"]}
    for site in document["sites"]:
        yield site, [cells.get((site, at)) for at in document["ats"]]


def heading(document: Map) -> str:
    """Say what the map is of."""
    name = printable(document["study"])
    if document["input"] is None:
        return f"{name}: what each activation knows, in bits"
    return f"{name}, {printable(document['input'])}: what each activation of this input knows, in bits"


def marks() -> list[tuple[str, float, str]]:
    """Return each sign in a cell, the share it begins at, and what it means."""
    return [
        ("●", 1.0, f"at least {KNOWN_SHARE:.0%} of the feature's entropy"),
        ("◐", (KNOWN_SHARE + PARTLY) / 2, f"at least {PARTLY:.0%}"),
        ("○", PARTLY / 2, "less"),
        ("·", 0.0, f"under {LEAST_BITS:g} bits about every feature"),
    ]


def notes(document: Map) -> list[str]:
    """Say what a cell holds, by which rule its feature is chosen, and what was measured."""
    mean = "" if document["input"] is not None else ", averaged over queries"
    blank = " Blank: no such position." if any(None in cells for _, cells in rows(document)) else ""
    return [
        "Each cell: the feature it knows best, and the bits it gives about it: "
        f"H(feature) − H(feature | preimage){mean}.{blank}",
        f"Best: of the features known to at least {KNOWN_SHARE:.0%} of their entropy, the one with the most bits; "
        "where there is none, the one known to the largest share.",
        _measured(document),
    ]


def _measured(document: Map) -> str:
    domain = document["domain"]
    prior = "the task's own" if domain is None else f"uniform over the {domain:,} inputs"
    n = document["queries"]
    queries = f"{n:,} random {'query' if n == 1 else 'queries'} a cell (seed {document['seed']})"
    if where := document.get("where"):
        queries += f", where {printable(where)}"
    metric = {"euclidean": "normalised Euclidean distance", "cosine": "cosine distance"}[document["metric"]]
    parts = [
        f"Prior: {prior}.",
        f"{queries}." if document["input"] is None else "One query a cell.",
        f"{_epsilon(document)}, {metric}, every input at the same named position.",
        "Exact preimages." if document["exact"] else _sampled(document),
    ]
    return " ".join(parts)


def _sampled(document: Map) -> str:
    words = "About: preimages were sampled, out"
    words += f" of {document['drawn']:,} inputs drawn from the prior" if "drawn" in document else " of draws"
    if given := document.get("drawn_given"):
        words += f", and {given:,} a query that share something with it"
    silent = [cell for cell in document["cells"] if "why_not" in cell]
    if silent:
        words += f". ? : too few members were drawn to say anything ({len(silent):,} of {len(document['cells']):,})"
    return f"{words}."


def _epsilon(document: Map) -> str:
    rule = printable(document["epsilon_rule"])
    by = "" if rule[:1].isdigit() or rule[:1] == "." else f" ({rule})"
    if document["epsilon"] is not None:
        return f"ε = {document['epsilon']:.4g}{by}"
    own = sorted(cell["epsilon"] for cell in document["cells"] if "epsilon" in cell)
    return f"ε from {own[0]:.4g} to {own[-1]:.4g}{by}" if own else f"ε by {rule}"


def place(cell: Measured) -> str:
    """Return site and named position of a cell."""
    return f"{printable(cell['site'])} at {visible(cell['at'])}"
