"""Documents as they go to a browser: with their sentences, rounded, and each token's text only once.

What is hidden in a name or a token (controls, bidirectional marks) is made visible here, and nowhere in a browser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice, takewhile, zip_longest
from typing import Any

import numpy as np
from jaxtyping import Float

from inversionview.report.answer import pattern_line
from inversionview.report.hypotheses import packed
from inversionview.report.map import first_known, level_of, shown
from inversionview.report.reading import printable, visible
from inversionview.report.words import (
    best_words,
    causal_words,
    explanations_words,
    face,
    hypotheses_words,
    map_words,
    overlap_words,
    patching_words,
    reading_words,
)
from inversionview.results import convert
from inversionview.results.colors import RowColors, make_together
from inversionview.results.explanations import SiteExplanation, SiteExplanations
from inversionview.results.hypotheses import HypothesisTests
from inversionview.results.map import UNASKED, Map, given_by_token
from inversionview.results.overlap import Overlap
from inversionview.results.patching import Patching
from inversionview.results.reading import Reading, Sample
from inversionview.results.use import Use

DIGITS = 4
"""Significant digits of a number in a packed document."""
MOST_TOKENS = 30_000
"""Tokens of the samples in a reading that is kept in a file or a notebook, which would grow by many megabytes."""
_NEAR = 20
"""Near misses that such a reading keeps."""
SHOWN_FIRST = 220
"""Samples that a page shows in colour: near misses as above, and the typical and the nearest members, by turns."""
_ROUNDED = ("distance", "log_prob", "token_distances")


def pack_reading(
    reading: Reading, *, most_tokens: int | None = None, most_colored: int | None = None
) -> dict[str, Any]:
    """Return a reading of which tokens are indexes into `strings`, with `words`; `unpack` in `wire.js` undoes it.

    `shown` has the same texts as tokens are drawn, `query_ids` the query's.

    Of more than `most_tokens` the nearest samples and the first typical ones are kept, by turns. Distances are rounded
    so that none of them crosses epsilon: what is inside stays inside. Of token colours that would have to be made,
    `most_colored` samples get theirs at most, chosen in the same way.
    """
    if most_tokens is not None:
        longest = max((len(sample.tokens) for sample in reading.samples), default=1)
        reading = _fewer(reading, most_tokens // longest)
    if most_colored is not None:
        reading = _fewer_colored(reading, most_colored)
    make_together(sample.colors for sample in reading.samples)
    table: dict[str, int] = {}
    packed = [_sample(sample, reading.epsilon, table) for sample in reading.samples]
    columns = [{**vars(c), "values": [_index(printable(value), table) for value in c.values]} for c in reading.features]
    query_ids = [_index(token, table) for token in reading.query.tokens]
    document = {
        "kind": "reading",
        **convert.plain(replace(reading, samples=(), features=())),
        "features": columns,
        "words": asdict(reading_words(reading)),
    }
    lists = {"samples": packed, "query": convert.plain(reading.query), "query_ids": query_ids, "strings": list(table)}
    return {**_printed(document), **lists, "shown": [visible(text) for text in table]}


def with_colors(packed: Mapping[str, Any], colors: Float[np.ndarray, "candidate pos"]) -> dict[str, Any]:
    """Return a packed reading that was packed without token colours, with those of all its samples."""
    samples = [
        {**sample, "colors": _colors(row[: len(sample["tokens"])])}
        for sample, row in zip(packed["samples"], colors.tolist(), strict=True)
    ]
    return {**packed, "samples": samples}


def pack_map(document: Map, explained: Sequence[SiteExplanation] = ()) -> dict[str, Any]:
    """Return a map with its sentences, and what is drawn and said of each cell; bits have four decimals.

    Cells have the bits of all features; what they know best, and what is said, is of those that are shown unasked.
    `explained`: what some sites say in words, for their cells.
    """
    packed, in_words = document.to_dict(), {(one.site, one.at): one.line for one in explained}
    for cell, of in zip(packed["cells"], shown(document).cells, strict=True):
        cell["bits"] = {name: _fixed(feature) for name, feature in cell["bits"].items()}
        cell |= {"best": of.best, "knows": list(of.knows)}
        cell |= {"face": face(of), "says": best_words(of), "level": level_of(of)}
        cell["in_words"] = in_words.get((of.site, of.at), "")
    features = {"given": given_by_token(document), "known_from": first_known(document), "unasked": list(UNASKED)}
    return _printed({"kind": "map", **packed, **features, "words": asdict(map_words(document))})


def pack_overlap(document: Overlap) -> dict[str, Any]:
    """Return what two preimages share, with the words of each part."""
    parts = []
    for part in document.parts:
        lines = [asdict(pattern_line(pattern)) for pattern in part.patterns.found]
        parts.append({"name": part.name, "words": overlap_words(part), "patterns": lines, "examples": part.examples})
    return _printed({"kind": "overlap", "parts": parts})


def pack_causal(document: Use) -> dict[str, Any]:
    """Return whether an activation is used, with its sentences."""
    return _printed({"kind": "causal", **document.to_dict(), "words": asdict(causal_words(document))})


def pack_patching(document: Patching) -> dict[str, Any]:
    """Return what patching did, with its sentences."""
    return _printed({"kind": "patching", **document.to_dict(), "words": asdict(patching_words(document))})


def pack_tests(document: HypothesisTests) -> dict[str, Any]:
    """Return tested hypotheses, with their sentences."""
    tests = [packed(test) for test in document]
    return _printed({"kind": "tests", "tests": tests, "words": asdict(hypotheses_words(document))})


def pack_explanations(document: SiteExplanations) -> dict[str, Any]:
    """Return what sites say, as a table."""
    return _printed({"kind": "explanations", **document.to_dict(), "words": asdict(explanations_words(document))})


def _sample(sample: Sample, epsilon: float, table: dict[str, int]) -> dict[str, Any]:
    packed: dict[str, Any] = {**vars(sample), "tokens": [_index(token, table) for token in sample.tokens]}
    for name in _ROUNDED:
        packed[name] = _rounded(packed[name])
    packed["colors"] = None if sample.colors is None else _colors(sample.colors)
    distance = sample.distance
    if distance is not None and (packed["distance"] <= epsilon) != (distance <= epsilon):
        packed["distance"] = distance
    return packed


def _colors(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def _printed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same with all that is hidden in its texts made visible."""
    return {printable(name): _printed_value(value) for name, value in document.items()}


def _printed_value(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return _printed(value)
    return [_printed_value(one) for one in value] if isinstance(value, list | tuple) else value


def _fewer(reading: Reading, n: int) -> Reading:
    """A reading with `n` of its samples at most: the typical members, near misses and the nearest, by turns."""
    samples = reading.samples
    if len(samples) <= n:
        return reading
    chosen = _by_turns(reading, n)
    kept = [i for i in _nearest_first(reading) if i in chosen]
    row = {i: j for j, i in enumerate(kept)}
    return replace(
        reading,
        samples=[samples[i] for i in kept],
        features=[replace(c, values=[c.values[i] for i in kept]) for c in reading.features],
        typical=[row[i] for i in takewhile(row.__contains__, reading.typical)],  # no longer typical from a gap on
    )


def _fewer_colored(reading: Reading, n: int) -> Reading:
    """A reading in which `n` samples at most have token colours, beside those whose colours were made already."""
    chosen = _by_turns(reading, n)

    def left_out(i: int, sample: Sample) -> bool:
        return isinstance(sample.colors, RowColors) and not sample.colors.known and i not in chosen

    samples = [replace(one, colors=None) if left_out(i, one) else one for i, one in enumerate(reading.samples)]
    some = sum(sample.colors is not None for sample in samples)
    if some in (0, sum(sample.colors is not None for sample in reading.samples)):
        return replace(reading, samples=samples)
    about = f"{reading.colors_about} Here {some:,} rows have colours, those that are shown first."
    return replace(reading, samples=samples, colors_about=about)


def _by_turns(reading: Reading, n: int) -> set[int]:
    nearest = _nearest_first(reading)
    near = [i for i in nearest if reading.samples[i].in_domain and not reading.samples[i].inside]
    turns = chain.from_iterable(zip_longest(reading.typical, near[:_NEAR], nearest))
    return set(islice(dict.fromkeys(i for i in turns if i is not None), n))


def _nearest_first(reading: Reading) -> list[int]:
    return sorted(range(len(reading.samples)), key=lambda i: _order(reading.samples[i]))


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


def _fixed(feature: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _four_decimals(value) for name, value in feature.items()}


def _four_decimals(value: Any) -> Any:
    if isinstance(value, Sequence):
        return [_four_decimals(one) for one in value]
    return None if value is None else round(float(value), 4)
