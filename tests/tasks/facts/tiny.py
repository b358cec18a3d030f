"""Three subjects and two relations, one of them of two words; an object is the subject of another."""

from __future__ import annotations

from inversionview.tasks.facts.tables import Fact, FactTable

FACTS = [
    Fact("capital", "France", "Paris", "city"),
    Fact("capital", "Costa Rica", "San José", "city"),
    Fact("capital", "Peru", "Lima", "city"),
    Fact("continent", "France", "Europe", "continent"),
    Fact("continent", "Peru", "America", "continent"),
    Fact("continent", "Lima", "America", "continent"),
]
PHRASINGS = {
    "capital": ("The *capital* of {subject} is {object}.", "In {subject} lies the *capital* {object}.",
                "Ask in {subject} for {object}."),
    "continent": ("The *continent* of {subject} is {object}.", "We find {subject} in {object}.",
                  "As for {subject}, it is in {object}.", "A map of {subject} is a map of {object}."),
}  # fmt: skip


def small_table() -> FactTable:
    return FactTable.of_relations(FACTS, PHRASINGS)
