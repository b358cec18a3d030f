"""What is said of a preimage as a whole, as plain data for documents and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from inversionview.preimage.estimates import completeness
from inversionview.report.estimates import Completeness, KnownBits, Size
from inversionview.report.reading import Source
from inversionview.results.preimage import Preimage


def size_document(preimage: Preimage) -> Size:
    """The size and what it is in bits, with intervals; None and the reason where it is not known."""
    size = completeness.size(preimage)
    return {
        "inputs": size.inputs,
        "interval": _ends(size.interval),
        "log2_domain_over_preimage": _finite(size.bits),
        "bits_interval": _ends(size.bits_interval),
        "effective_size": size.effective_size,
        "pareto_k": size.pareto_k,
        "why_not": size.why_not,
        "domain": preimage.domain_size,
    }


def completeness_document(preimage: Preimage) -> Completeness:
    """How much of the preimage was found, by every estimator that can say something; see `completeness`."""
    if preimage.exact:
        return {"reach": 1.0, "interval": None, "unseen": None, "recall": None, "at_least": None, "why_not": None}
    reach, unseen = completeness.reach(preimage), completeness.unseen_mass(preimage)
    recall, bound = completeness.recall(preimage), completeness.at_least(preimage)
    return {
        "reach": reach.share,
        "interval": _ends(reach.interval),
        "unseen": None if unseen.share is None else {"mass": unseen.share, "interval": _ends(unseen.interval)},
        "recall": None
        if recall.share is None
        else {"share": recall.share, "interval": _ends(recall.interval), "held_out": recall.n},
        "at_least": None if bound.bound is None else {"inputs": bound.bound, "interval": None},
        "why_not": reach.why_not,
    }


def bits_documents(preimage: Preimage) -> list[KnownBits]:
    """Bits about each feature, those of which most is known first; features that are constant are left out."""
    features = sorted((f for f in preimage.bits if f.of > 1e-9), key=lambda f: -f.share)
    return [
        cast(KnownBits, {"name": f.name, "bits": f.bits, "of": f.of, "divergence": _finite(f.divergence)})
        | {"interval": _ends(f.interval)}
        for f in features
    ]


def source_documents(preimage: Preimage) -> list[Source]:
    """What each source contributed: its draws, those inside, the members among them, and those no other source drew."""
    if preimage.exact:
        return []
    names = sorted({name for times in preimage.sources for name in times})
    inside = preimage.inside
    rows = []
    for name in names:
        times = np.array([of.get(name, 0) for of in preimage.sources], dtype=np.int64)
        alone = np.array([len(of) == 1 and name in of for of in preimage.sources], dtype=bool)
        rows.append(
            Source(
                name=name,
                drawn=int(times.sum()),
                inside=int(times[inside].sum()),
                distinct_inside=int((inside & (times > 0)).sum()),
                only=int((inside & alone).sum()),
            )
        )
    return rows


def query_shares(preimage: Preimage) -> list[float]:
    """For each token of the query, the share of the members that have it at the same place."""
    tokens = preimage.tokens[preimage.inside]
    own = preimage.query.tokens[: tokens.shape[1]]
    if not len(tokens):
        return [0.0] * len(preimage.query.tokens)
    shares = [float((tokens[:, i] == token).mean()) for i, token in enumerate(own)]
    return shares + [0.0] * (len(preimage.query.tokens) - len(shares))


def _ends(interval: Sequence[float] | None) -> list[Any] | None:
    return None if interval is None else [_finite(end) for end in interval]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
