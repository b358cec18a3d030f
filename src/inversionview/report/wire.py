"""Documents as they go to a browser: with their sentences, rounded, and each token's text only once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from inversionview.report.causal import Causal
from inversionview.report.reading import Reading, Sample
from inversionview.report.words import causal_words, map_words, reading_words
from inversionview.results.map import Map

DIGITS = 4
"""Significant digits of a number in a packed document."""
_ROUNDED = ("distance", "log_prob", "token_distances")


def pack_reading(reading: Reading) -> dict[str, Any]:
    """Return a reading of which tokens are indexes into `strings`, with `words`; `unpack` in `wire.js` undoes it.

    Distances are rounded so that none of them crosses epsilon: what is inside stays inside.
    """
    table: dict[str, int] = {}
    samples = [_sample(sample, reading["epsilon"], table) for sample in reading["samples"]]
    columns = [
        {**column, "values": [_index(value, table) for value in column["values"]]}
        for column in reading.get("features", [])
    ]
    packed = {**reading, "samples": samples, "features": columns, "words": reading_words(reading)}
    return {**packed, "strings": list(table)}


def pack_map(document: Map) -> dict[str, Any]:
    """Return a map with its sentences; bits have four digits after the point."""
    packed = document.to_dict()
    for cell in packed["cells"]:
        cell["bits"] = {name: _fixed(feature) for name, feature in cell["bits"].items()}
    return {**packed, "words": map_words(document)}


def pack_causal(document: Causal) -> dict[str, Any]:
    """Return whether an activation is used, with its sentences."""
    return {**document, "words": causal_words(document)}


def _sample(sample: Sample, epsilon: float, table: dict[str, int]) -> dict[str, Any]:
    packed: dict[str, Any] = {**sample, "tokens": [_index(token, table) for token in sample["tokens"]]}
    for name in _ROUNDED:
        packed[name] = _rounded(packed[name])
    packed["colors"] = None if sample["colors"] is None else [round(value, 2) for value in sample["colors"]]
    distance = sample["distance"]
    if distance is not None and (packed["distance"] <= epsilon) != (distance <= epsilon):
        packed["distance"] = distance
    return packed


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
