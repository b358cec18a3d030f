"""The facts and words that every drawing of a reading shares."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from inversionview.report.estimates import Fact, completeness_facts, size_fact
from inversionview.results.estimates import Source
from inversionview.results.reading import Place, Reading, Sample


class Row(NamedTuple):
    """A sample, with the values of its features."""

    sample: Sample
    features: list[str]


class Groups(NamedTuple):
    """The samples of a reading, nearest first in each group."""

    members: list[Row]
    near: list[Row]
    """In the domain, but outside epsilon."""
    outside: list[Row]
    """Not in the domain: never members, however near."""


def group(reading: Reading) -> Groups:
    """Part the samples into members, near misses and those outside the domain; ties keep the order given."""
    columns = [column.values for column in reading.features]
    rows = [Row(sample, [column[i] for column in columns]) for i, sample in enumerate(reading.samples)]
    rows.sort(key=lambda row: _distance(row.sample))
    return Groups(
        [row for row in rows if row.sample.inside],
        [row for row in rows if row.sample.in_domain and not row.sample.inside],
        [row for row in rows if not row.sample.in_domain],
    )


def agreement(query: Place, members: Sequence[Row]) -> list[float]:
    """Return, for each token of the query, the share of the members that have the same token at the same index."""
    shares = []
    for i, token in enumerate(query.tokens):
        same = sum(i < len(row.sample.tokens) and row.sample.tokens[i] == token for row in members)
        shares.append(same / len(members) if members else 0.0)
    return shares


def shares(reading: Reading, members: Sequence[Row]) -> Sequence[float]:
    """Return, for each token of the query, the share of members with it there: of all where known, or of those given.

    Empty where there are no members.
    """
    if reading.shares is not None:
        return reading.shares if reading.counts.inside else []
    return agreement(reading.query, members) if members else []


def facts(reading: Reading) -> list[Fact]:
    """Say what was run, how large the preimage is and what of it may be missing, as far as the reading knows."""
    said = [Fact("warning", reading.warning)] if reading.warning else []
    said.append(_run(reading))
    said += [size_fact(reading.size, exact=reading.exact)] if reading.size else []
    return said + (completeness_facts(reading.completeness) if reading.completeness else [])


def _run(reading: Reading) -> Fact:
    counts = reading.counts
    if reading.exact:
        return Fact("run", f"all {counts.in_domain:,} inputs {_part(reading)}")
    words = f"{counts.drawn:,} candidates drawn, {counts.distinct:,} distinct, {counts.in_domain:,} in the domain"
    return Fact("run", words)


def _part(reading: Reading) -> str:
    return printable(reading.given) if reading.given else "of the domain"


def settings(reading: Reading) -> list[tuple[str, str]]:
    """Return what the reading was made with, as names and values in words."""
    metrics = {"euclidean": "‖z − z_q‖ / ‖z_q‖", "cosine": "1 − cos(z, z_q)"}
    rules = {"same": f"only at {visible(reading.query.at)}", "any": "the best of each input"}
    rows = [("distance", metrics[reading.metric]), ("positions", rules[reading.position_rule])]
    if reading.site_note:
        rows.insert(0, (printable(reading.site), printable(reading.site_note)))
    if reading.epsilon_from:
        rows.append(("ε", printable(reading.epsilon_from)))
    if reading.domain_size is not None:
        part = f" {_part(reading)}" if reading.given else ""
        rows.append(("domain", f"{reading.domain_size:,} inputs{part}"))
    if not reading.exact:
        rows.append(("seed", str(reading.seed)))
    return rows


def source_lines(reading: Reading) -> list[tuple[str, str, float]]:
    """Return name, words, and share of draws inside epsilon, for each source."""
    total = sum(source.drawn for source in reading.sources)
    lines = []
    for source in reading.sources:
        rate = source.inside / source.drawn if source.drawn else 0.0
        share = source.drawn / total if total else 0.0
        words = f"{source.drawn:,} draws ({share:.0%}), {source.inside:,} of them inside ε ({rate:.0%})"
        lines.append((source.name, words + _contribution(source), rate))
    return lines


def _contribution(source: Source) -> str:
    parts = []
    if source.distinct_inside is not None:
        parts.append(f"{source.distinct_inside:,} {'member' if source.distinct_inside == 1 else 'members'}")
    if source.only is not None:
        parts.append(f"{source.only:,} found by no other source")
    if source.forwards is not None:
        parts.append(f"{source.forwards:,} {'forward' if source.forwards == 1 else 'forwards'} of the model")
    return f"; {', '.join(parts)}" if parts else ""


def input_of(tokens: Sequence[str]) -> str:
    """The text between begin and end, as one reads it."""
    return "".join(tokens[1:-1]).strip()


def format_distance(distance: float | None, epsilon: float) -> str:
    """Write a distance with three decimals, or as many more as a small epsilon needs; a dash where there is none."""
    if distance is None:
        return "–"
    return f"{distance:.{max(3, 2 - math.floor(math.log10(epsilon)))}f}"


@lru_cache(maxsize=65536)
def visible(token: str) -> str:
    """Return a token as text in which nothing is hidden: spaces, line ends, controls and bidirectional marks show."""
    if not token:  # of a character that the token before shows whole
        return "⟨…⟩"
    shown = "".join(_visible_character(c, alone=len(token) == 1) for c in token)
    return "◌" + shown if unicodedata.category(shown[0]).startswith("M") else shown


def printable(text: str) -> str:
    """Return a name or a sentence with its spaces as they are, and everything else that is hidden made visible."""
    return "".join(c if c == " " else _visible_character(c, alone=False) for c in text)


_MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}
_JOINER = "\u200d"  # emoji families are held together by it


def _visible_character(character: str, *, alone: bool) -> str:
    if character in _MARKS:
        return _MARKS[character]
    if unicodedata.category(character) in _HIDDEN and (alone or character != _JOINER):
        return f"⟨{ord(character):04X}⟩"
    return character


def _distance(sample: Sample) -> float:
    return math.inf if sample.distance is None else sample.distance
