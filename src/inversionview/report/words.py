"""The sentences and tables that are drawn of a document, made here once, so that two languages never say two things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from inversionview.report import causal, hypotheses, map, patching, reading
from inversionview.report.answer import Answer, answer_of
from inversionview.report.estimates import bits_row, curve_header, curve_rows, share_known
from inversionview.results.explanation import ABOUT, DETECTION, GENERATION, Score
from inversionview.results.explanations import SiteExplanations
from inversionview.results.hypotheses import HypothesisTests
from inversionview.results.map import KNOWN_SHARE, LEAST_BITS, LITTLE, PARTLY, Cell, Map
from inversionview.results.overlap import Part
from inversionview.results.patching import Effect, Patching
from inversionview.results.reading import Reading
from inversionview.results.use import Use

_SHARED = 40
"""Tokens of the longest query whose shares are a table."""


@dataclass(frozen=True)
class Row:
    """A row of a table; where it has fewer cells than there are columns, its last cell spans what is left."""

    cells: list[str]
    kind: str = ""
    """What makes it stand out, such as `used`, `known`, `member`."""
    bar: float | None = None
    """A share in [0, 1] that is drawn beside it."""


@dataclass(frozen=True)
class Table:
    """A caption, the names of the columns, and the rows."""

    caption: str
    columns: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Words:
    """What is said of a document."""

    heading: str
    place: str = ""
    """Site and position, where the heading does not name them."""
    input: str = ""
    """Of a reading, without begin and end tokens."""
    sentences: list[str] = field(default_factory=list)
    facts: list[list[str]] = field(default_factory=list)
    """Labels, each with what is said under it."""
    settings: list[list[str]] = field(default_factory=list)
    """Names of settings with their values; of a map, signs with their meanings."""
    tables: dict[str, Table] = field(default_factory=dict)
    """Those without rows are not drawn."""
    notes: list[str] = field(default_factory=list)
    answer: Answer | None = None
    """Of a reading, what it says."""


def reading_words(document: Reading) -> Words:
    """Say what the reading answers, what is known of the whole preimage, and how that was found."""
    tables = {
        "shares": _shares(document),
        "bits": _bits(document),
        "curve": _curve(document),
        "sources": Table(
            "Sources", ["source", "draws"], [Row([n, w], bar=rate) for n, w, rate in reading.source_lines(document)]
        ),
    }
    facts, answer = _lists(reading.facts(document)), answer_of(document)
    return Words(
        heading=answer.head,
        place=f"{reading.printable(document.site)} at {reading.visible(document.query.at)}",
        input="".join(document.query.tokens[1:-1]),
        sentences=[answer.sentence],
        facts=facts,
        settings=_lists(reading.settings(document)),
        tables=tables,
        notes=[] if document.exact else ["In brackets: 95% intervals."],
        answer=answer,
    )


def explanations_words(document: SiteExplanations) -> Words:
    """Say what sites say, a row each."""
    rows, tried = [], any(one.used is not None for one in document.sites)
    for one in document.sites:
        generation, detection = one.scores.get(GENERATION), one.scores.get(DETECTION)
        floor = "" if generation is None or generation.floor is None else f"{generation.floor:.3f}"
        examples = next((told.example for told in one.told if told.about), "")
        used = [_mean(one.used)] if tried else []
        rows.append(Row([one.site, one.words, examples, _mean(generation), floor, _mean(detection), *used]))
    columns = ["site", "says", "such as", "generation", "floor", "detection", *(["used"] if tried else [])]
    return Words(
        heading=f"{document.study} at {document.at}",
        tables={"sites": Table("What sites say", columns, rows)},
        notes=["Scores: means over the activations whose explanation says something; detection: 0.5 is chance.",
               f"Generation: {ABOUT[GENERATION]}.",
               *(["Used: of the activations of which it is known, those whose explanation the model uses."] * tried)],
    )  # fmt: skip


def _mean(score: Score | None) -> str:
    return "" if score is None or score.value is None else f"{score.value:.3f}"


def map_words(document: Map) -> Words:
    """Say what a map is of, what its signs mean, and what was measured; its table has a row a site."""
    rows = [
        Row([site, *("" if cell is None else " ".join(filter(None, face(cell))) for cell in cells)])
        for site, cells in map.rows(map.shown(document))
    ]
    return Words(
        heading=map.heading(document),
        settings=[[sign, words] for sign, _, words in map.marks()],
        tables={"cells": Table("Sites by named positions", ["", *document.ats], rows)},
        notes=map.notes(document),
    )


def face(cell: Cell) -> list[str]:
    """Return what is drawn of a cell of a map: the feature it knows best, its bits and sign, the others it knows."""
    level = map.level_of(cell)
    if cell.best is None or level is None or level == "nothing":
        return ["?" if level is None else "·", "", ""]
    feature = cell.bits[cell.best]
    others = ", ".join(name for name in cell.knows if name != cell.best)
    return [cell.best, f"{feature.bits:.1f} {map.mark(feature.share)}", others]


def best_words(cell: Cell) -> str:
    """Say what a cell of a map knows best."""
    level = map.level_of(cell)
    if level is None:
        return f"not measured: {cell.why_not or 'no reason was kept'}"
    if cell.best is None or level == "nothing":
        return f"nothing: under {LITTLE:.0%} of every feature"
    feature = cell.bits[cell.best]
    others = [name for name in cell.knows if name != cell.best]
    also = f"; also {', '.join(others[:4])}{' and more' if len(others) > 4 else ''}" if others else ""
    return f"{cell.best}: {feature.bits:.2f} of {feature.of:.2f} bits ({feature.share:.0%}){also}"


def overlap_words(part: Part) -> str:
    """Say how much of two preimages is in both, or in one alone."""
    if not part.members:
        return "no input that was found"
    named = zip(part.shares, ("first", "second"), strict=True)
    of = [f"{share:.0%} of the {name}" for share, name in named if share is not None]
    return f"{part.members:,} found, by weight {' and '.join(of)}"


def how_well(bits: float, of: float) -> str:
    """Return whether a feature is `known`, known `partly` or a `little`, by the thresholds of the map, or nothing."""
    if bits < LEAST_BITS:
        return ""
    share = share_known(bits, of)
    return "known" if share >= KNOWN_SHARE else "partly" if share >= PARTLY else "little"


def causal_words(document: Use) -> Words:
    """Say whether an activation is used, and what activations of other inputs did."""
    features = [Row(list(row.cells), row.verdict, row.saved) for row in causal.feature_rows(document)]
    tables = {
        "groups": Table(
            "What activations of other inputs do to the output",
            list(causal.GROUP_COLUMNS),
            [Row(list(row)) for row in causal.group_rows(document)],
        ),
        "features": Table("Features: encoded, and used", list(causal.FEATURE_COLUMNS), features),
    }
    return Words(
        heading=causal.heading(document),
        sentences=[causal.answer(document)],
        settings=_lists(causal.settings(document)),
        tables=tables,
        notes=[*causal.abstained(document), *causal.notes(document)],
    )


def patching_words(document: Patching) -> Words:
    """Say what patching did: a table for each order."""
    tables = {
        f"order {i}": Table(
            patching.caption(order),
            ["", "patched", "drop", "moved"],
            [_effect(document, effect, first=j == 0) for j, effect in enumerate(effects)],
        )
        for i, (order, effects) in enumerate(patching.groups(document))
    }
    return Words(
        heading=patching.heading(document),
        sentences=[patching.summary(document)],
        settings=_lists(patching.settings(document)),
        tables=tables,
        notes=patching.notes(),
    )


def hypotheses_words(document: HypothesisTests) -> Words:
    """Say of each test of a hypothesis how it came out."""
    rows = [
        Row([f"{test.site} at {test.at}", hypotheses.verdict(test), hypotheses.sentence(test)]) for test in document
    ]
    table = Table("Does it hold for the members?", ["place", "verdict", ""], rows)
    return Words(heading=", ".join(dict.fromkeys(test.name for test in document)), tables={"tests": table})


def _shares(document: Reading) -> Table:
    """The share of members that have the query's token, a column each, where these are few."""
    members = reading.group(document).members
    tokens = document.query.tokens if len(document.query.tokens) <= _SHARED else []
    shares = reading.shares(document, members) if tokens else []
    of = f"{len(members):,} members" if document.shares is None else f"all {document.counts.inside:,} members"
    rows = [Row([f"{share:.0%}" for share in shares])] if shares else []
    return Table(f"Share of {of} with the query's token", [reading.visible(token) for token in tokens], rows)


def _bits(document: Reading) -> Table:
    """Features with their bits, most bits first, and how well each is known."""
    rows = []
    for feature in sorted(document.bits, key=lambda feature: -feature.bits):
        share = share_known(feature.bits, feature.of)
        cells = [cell.replace("-", "−") for cell in bits_row(feature, exact=document.exact)]
        rows.append(Row([feature.name, *cells, map.mark(share)], how_well(feature.bits, feature.of), share))
    about = "Bits about features: H(feature) − H(feature | preimage)"
    return Table(about, ["feature", "bits", "of", "interval", "known"], rows)


def _curve(document: Reading) -> Table:
    exact = document.exact
    rows = curve_rows(document.curve, document.epsilon, exact=exact)
    return Table(
        "Other ε", list(curve_header(exact=exact)), [Row(cells, "ours" if ours else "") for ours, cells in rows]
    )


def _effect(document: Patching, effect: Effect, *, first: bool) -> Row:
    share = patching.moved(document, effect)
    cells = [
        patching.label(effect, first),
        patching.signed(effect.patched) + patching.error(effect.patched_se),
        patching.signed(effect.drop) + patching.error(effect.se),
        patching.percent(share),
    ]
    return Row(cells, bar=round(max(0.0, min(1.0, share or 0.0)), 4))


def _lists(rows: Iterable[Iterable[Any]]) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in rows]
