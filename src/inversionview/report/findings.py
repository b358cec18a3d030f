"""What a map says of a circuit, by rules: which head reads what, and from which site on a feature is known.

Every sentence comes from a measured share and one of two thresholds, `KNOWN_SHARE` and `PARTLY`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from inversionview.report.map import KNOWN_SHARE, LEAST_BITS, PARTLY, Cell, Map, share


class Claim(TypedDict):
    """A statement about a circuit that somebody published, in the words of a map."""

    site: str
    at: str
    reads: list[str]
    """Features of which the site knows at least `PARTLY` there."""
    not_: list[str]
    """Features of which it knows less."""
    source: str


class Verdict(NamedTuple):
    """A claim beside what was measured."""

    claim: Claim
    agrees: bool
    measured: str
    """The shares that decide, in words."""


def first_known(document: Map) -> dict[str, dict[str, str]]:
    """For each feature, and each named position where some site knows it, the first such site.

    Known is at least `KNOWN_SHARE` of the feature's entropy; sites are in the order of the document, which is the order
    in which the model computes them.
    """
    order = {site: i for i, site in enumerate(document["sites"])}
    found: dict[str, dict[str, str]] = {}
    for cell in sorted(document["cells"], key=lambda cell: order.get(cell["site"], len(order))):
        for name in cell["knows"]:
            found.setdefault(name, {}).setdefault(cell["at"], cell["site"])
    features = dict.fromkeys(name for cell in document["cells"] for name in cell["bits"])
    return {name: found[name] for name in features if name in found}


def partly_known(cell: Cell) -> list[str]:
    """Features of which a cell knows at least `PARTLY`, the largest share first; ties in the order given."""
    shares = {name: round(share(f), 6) for name, f in cell["bits"].items() if f["bits"] >= LEAST_BITS}
    return sorted((name for name, known in shares.items() if known >= PARTLY), key=lambda name: -shares[name])


def verdicts(document: Map, claims: Sequence[Claim]) -> list[Verdict]:
    """Compare claims with a map: those that do not agree first, else in their order."""
    cells = {(cell["site"], cell["at"]): cell for cell in document["cells"]}
    found = [_verdict(claim, cells.get((claim["site"], claim["at"]))) for claim in claims]
    return sorted(found, key=lambda verdict: verdict.agrees)


def _verdict(claim: Claim, cell: Cell | None) -> Verdict:
    if cell is None:
        return Verdict(claim, False, "the map has no such cell")
    shares = {name: share(cell["bits"][name]) for name in [*claim["reads"], *claim["not_"]]}
    agrees = all(shares[name] >= PARTLY for name in claim["reads"]) and all(
        shares[name] < PARTLY for name in claim["not_"]
    )
    words = [
        f"{name} {round(cell['bits'][name]['bits'], 2) + 0.0:.2f} of {cell['bits'][name]['of']:.2f} bits ({known:.0%})"
        for name, known in shares.items()
    ]
    return Verdict(claim, agrees, ", ".join(words))


def rule() -> str:
    """Say which thresholds the sentences go by."""
    return (
        f"a cell knows a feature when its activation gives at least {KNOWN_SHARE:.0%} of the feature's entropy, and "
        f"reads it when it gives at least {PARTLY:.0%}"
    )
