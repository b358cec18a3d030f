"""What sentences of indirect object identification are made of: openings, endings, names, places and objects.

All of it is our own. Every opening goes with every ending, and each ending names the indirect object last.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from inversionview.errors import UserError

OPENING_SLOTS, ENDING_SLOTS = ("{A}", "{B}", "{place}"), ("{S}", "{object}", "{IO}")


class Phrases(NamedTuple):
    """Openings, in which two names and a place stand, and endings, which start with a space and end in `{IO}.`."""

    openings: tuple[str, ...]
    endings: tuple[str, ...]

    def checked(self) -> Phrases:
        """The same. Raises `UserError` for a phrase that lacks a slot or has it where it must not stand."""
        for phrase in self.openings:
            if sorted(_slots(phrase)) != sorted(OPENING_SLOTS) or phrase.index("{A}") > phrase.index("{B}"):
                raise UserError(f"an opening has {{A}}, then {{B}}, and {{place}}, each once, not {phrase!r}")
            if phrase[:1] in ("{", " ", "") or "{A} {B}" in phrase:
                raise UserError(f"an opening starts with a word, and has one between its names, not {phrase!r}")
        for phrase in self.endings:
            if sorted(_slots(phrase)) != sorted(ENDING_SLOTS) or not phrase.startswith(" "):
                raise UserError(f"an ending starts with a space and has {{S}}, {{object}}, {{IO}} once, not {phrase!r}")
            if not phrase.endswith(" {IO}.") or phrase.endswith("} {IO}."):
                raise UserError(f"an ending ends with a word and {{IO}}., not {phrase!r}")
        return self


def _slots(phrase: str) -> list[str]:
    return re.findall(r"\{\w*\}", phrase)


PHRASES = Phrases(
    openings=(
        "After {A} and {B} walked to the {place},",
        "While {A} sat with {B} at the {place},",
        "At the {place}, {A} met {B}, and",
        "Before {A} left the {place} with {B},",
        "When {A} saw {B} in the {place},",
        "Since {A} was at the {place} with {B},",
        "Inside the {place}, {A} and {B} talked until",
        "As {A} had told {B} about the {place},",
    ),
    endings=(
        " {S} gave the {object} to {IO}.",
        " the {object} was handed by {S} to {IO}.",
        " {S} bought the new {object} for {IO}.",
        " it was {S} who shared the {object} with {IO}.",
    ),
)

SMALL_NAMES = (
    "Alice", "Brian", "Carol", "David", "Emma", "Frank", "Grace", "Henry", "Jane", "Kevin", "Laura", "Martin", "Nancy",
    "Oliver", "Paul", "Rachel",
)  # fmt: skip
SMALL_PLACES = ("school", "garden", "market", "station")
SMALL_OBJECTS = ("book", "ring", "map", "lamp", "cake")

NAMES = (
    *SMALL_NAMES, "Adam", "Alan", "Alex", "Amanda", "Amy", "Andrea", "Andrew", "Angela", "Anna", "Anthony",
    "Arthur", "Barbara", "Ben", "Bob", "Charles", "Charlie", "Chris", "Christine", "Claire", "Daniel", "Diana",
    "Donald", "Edward", "Elizabeth", "Emily", "Eric", "Eva", "Fiona", "Fred", "Gary", "George", "Hannah", "Harry",
    "Helen", "Ian", "Jack", "Jacob", "James", "Jason", "Jennifer", "Jessica", "Jim", "John", "Joseph", "Julia",
    "Karen", "Kate", "Katie", "Kelly", "Kim", "Larry", "Leon", "Linda", "Lisa", "Louis", "Lucy", "Luke",
    "Margaret", "Maria", "Marie", "Mary", "Matthew", "Max", "Melissa", "Michael", "Michelle", "Nathan", "Nick",
    "Nicole", "Patricia", "Patrick", "Peter", "Philip", "Rebecca", "Richard", "Robert", "Roger", "Ryan", "Sam",
    "Samuel", "Sandra", "Sarah", "Scott", "Simon", "Sophie", "Stephen", "Steve", "Susan", "Thomas", "Tim", "Tom",
    "Tony", "Victor", "Victoria", "Walter", "William",
)  # fmt: skip
PLACES = (
    *SMALL_PLACES,
    "store", "park", "library", "museum", "hospital", "office", "restaurant", "beach", "house", "church", "theater",
    "hotel", "farm", "bank", "airport", "castle",
)  # fmt: skip
OBJECTS = (
    *SMALL_OBJECTS,
    "ball", "key", "letter", "bottle", "camera", "computer", "drink", "flower", "guitar", "hat", "phone", "picture",
    "shirt", "watch", "ticket",
)  # fmt: skip
