"""Documents as they go to a browser: with their sentences, rounded, and each token's text only once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from inversionview.report.words import best_words, causal_words, face, map_words, patching_words, reading_words
from inversionview.results import convert
from inversionview.results.map import Map
from inversionview.results.patching import Patching
from inversionview.results.reading import Reading, Sample
from inversionview.results.use import Use

DIGITS = 4
"""Significant digits of a number in a packed document."""
MOST_TOKENS = 30_000
"""Tokens of the samples in a reading that is kept in a file or a notebook, which would grow by many megabytes."""
_ROUNDED = ("distance", "log_prob", "token_distances")


def pack_reading(reading: Reading, *, most_tokens: int | None = None) -> dict[str, Any]:
    """Return a reading of which tokens are indexes into `strings`, with `words`; `unpack` in `wire.js` undoes it.

    Of more than `most_tokens` the nearest samples are kept. Distances are rounded so that none of them crosses epsilon:
    what is inside stays inside.
    """
    samples, kept = reading.samples, list(range(len(reading.samples)))
    if most_tokens is not None:
        longest = max((len(sample.tokens) for sample in samples), default=1)
        kept = sorted(kept, key=lambda i: _order(samples[i]))[: most_tokens // longest]
    table: dict[str, int] = {}
    packed = [_sample(samples[i], reading.epsilon, table) for i in kept]
    columns = [{**vars(c), "values": [_index(c.values[i], table) for i in kept]} for c in reading.features]
    return {
        "kind": "reading",
        **convert.plain(replace(reading, samples=(), features=())),
        "samples": packed,
        "features": columns,
        "words": asdict(reading_words(reading)),
        "strings": list(table),
    }


def pack_map(document: Map) -> dict[str, Any]:
    """Return a map with its sentences, and what is drawn and said of each cell; bits have four decimals."""
    packed = document.to_dict()
    for cell, of in zip(packed["cells"], document.cells, strict=True):
        cell["bits"] = {name: _fixed(feature) for name, feature in cell["bits"].items()}
        cell |= {"face": face(of), "says": best_words(of)}
    return {"kind": "map", **packed, "words": asdict(map_words(document))}


def pack_causal(document: Use) -> dict[str, Any]:
    """Return whether an activation is used, with its sentences."""
    return {"kind": "causal", **document.to_dict(), "words": asdict(causal_words(document))}


def pack_patching(document: Patching) -> dict[str, Any]:
    """Return what patching did, with its sentences."""
    return {"kind": "patching", **document.to_dict(), "words": asdict(patching_words(document))}


def _sample(sample: Sample, epsilon: float, table: dict[str, int]) -> dict[str, Any]:
    packed: dict[str, Any] = {**vars(sample), "tokens": [_index(token, table) for token in sample.tokens]}
    for name in _ROUNDED:
        packed[name] = _rounded(packed[name])
    packed["colors"] = None if sample.colors is None else [round(value, 2) for value in sample.colors]
    distance = sample.distance
    if distance is not None and (packed["distance"] <= epsilon) != (distance <= epsilon):
        packed["distance"] = distance
    return packed


def _order(sample: Sample) -> float:
    return math.inf if sample.distance is None else sample.distance


def _index(text: str, table: dict[str, int]) -> int:
    return table.setdefault(text, len(table))


def _rounded(value: Any) -> Any:
    if isinstance(value, Sequence):
        return [_rounded(one) for one in value]
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _fixed(feature: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(float(value), 4) for name, value in feature.items()}
