"""The sentences that a drawing in a browser shows, made here once, so that two languages never say two things."""

from __future__ import annotations

from typing import Any

from inversionview.report import causal, map, reading
from inversionview.report.estimates import bits_row
from inversionview.results.map import Map


def reading_words(document: reading.Reading) -> dict[str, Any]:
    """Return what is said of a reading: headline, summary, facts, settings and sources, as lists of plain strings."""
    exact = document["exact"]
    return {
        "headline": reading.headline(document),
        "summary": reading.summary(document),
        "facts": [list(fact) for fact in reading.facts(document)],
        "settings": [list(row) for row in reading.settings(document)],
        "sources": [list(line) for line in reading.source_lines(document)],
        "bits": [list(bits_row(known, exact=exact)) for known in document.get("bits", [])],
    }


def map_words(document: Map) -> dict[str, Any]:
    """Return what is said of a map: heading, notes, and what its signs mean."""
    return {
        "heading": map.heading(document),
        "notes": map.notes(document),
        "marks": [[sign, words] for sign, _, words in map.marks()],
    }


def causal_words(document: causal.Causal) -> dict[str, Any]:
    """Return what is said of whether an activation is used: the answer, and the tables as words."""
    return {
        "heading": causal.heading(document),
        "answer": causal.answer(document),
        "settings": [list(row) for row in causal.settings(document)],
        "group_columns": list(causal.GROUP_COLUMNS),
        "groups": [list(row) for row in causal.group_rows(document)],
        "feature_columns": list(causal.FEATURE_COLUMNS),
        "features": [
            {"cells": list(row.cells), "verdict": row.verdict, "saved": row.saved}
            for row in causal.feature_rows(document)
        ],
        "abstained": causal.abstained(document),
        "notes": causal.notes(document),
    }
