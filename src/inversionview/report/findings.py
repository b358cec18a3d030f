"""What a map says of a circuit, by rules: which head reads what, and from which site on a feature is known.

Every sentence comes from a measured share and one of two thresholds, `KNOWN_SHARE` and `PARTLY`.
"""

from __future__ import annotations

from inversionview.report.map import LEAST_BITS, PARTLY, Cell, Map, share


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
