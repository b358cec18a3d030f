"""Small templates of every kind, each with all its texts made in another way."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from inversionview.tasks.template.file import read_template
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer

NAMES, TOWNS = ("Alice", "Brian", "Carol"), ("Lima", "San Juan")


class Small(NamedTuple):
    """A template, and all its texts."""

    toml: str
    texts: Callable[[], list[str]]


LIKES = Small(
    """
    answer = "B"
    phrasings = ["{A} saw {B}.", "In {town} {A} saw the dog of {B}."]
    [slots]
    A = "names"
    B = { values = "names", not = "A" }
    town = ["Lima", "San Juan"]
    [lists]
    names = ["Alice", "Brian", "Carol"]
    """,
    lambda: [
        text
        for a, b in itertools.permutations(NAMES, 2)
        for text in (f"{a} saw {b}.", *(f"In {town} {a} saw the dog of {b}." for town in TOWNS))
    ],
)
ORDER = Small(
    """
    answer = "IO"
    columns = ["IO", "S"]
    [phrasings]
    opening = ["When {A} met {B},", "After {A} saw {B},"]
    ending = [" {S} gave the {thing} to {IO}.", " the {thing} went from {S} to {IO}."]
    [slots]
    IO = "names"
    S = { values = "names", not = "IO" }
    A = { one_of = ["IO", "S"] }
    B = { other = "A" }
    thing = ["ball", "key"]
    [roles]
    first = "A"
    giver = "S"
    "giver+1" = "giver+1"
    IO = { pick = "A", of = ["A", "B"] }
    [features]
    both = { set = ["IO", "S"] }
    where = { position = "IO" }
    [flip]
    swap = ["IO", "S"]
    other = ["A"]
    [changes]
    giver = "flip"
    [held-out]
    pair = { of = ["IO", "S"], unordered = true, share = 0.3 }
    words = { of = ["phrasing", "thing"], share = 0.25 }
    [lists]
    names = { values = ["Alice", "Brian", "Carol"], tokens = 1 }
    """,
    lambda: [
        f"{opening.format(A=first, B=second)}{ending.format(S=s, IO=io, thing=thing)}"
        for io, s in itertools.permutations(NAMES, 2)
        for first, second in ((io, s), (s, io))
        for opening in ("When {A} met {B},", "After {A} saw {B},")
        for ending in (" {S} gave the {thing} to {IO}.", " the {thing} went from {S} to {IO}.")
        for thing in ("ball", "key")
    ],
)
FACTS = Small(
    """
    answer = "object"
    [[phrasings]]
    texts = ["The {relation:capital} of {subject} is {object}.", "In {subject} lies {object}."]
    when = 'relation == "capital"'
    [[phrasings]]
    texts = ["We find {subject} in {object}."]
    when = 'relation == "continent"'
    [slots]
    fact = { row = "facts" }
    relation = { column = "fact.relation" }
    subject = { column = "fact.subject" }
    object = { column = "fact.object" }
    [features]
    kind = { column = "fact.kind" }
    [tables]
    facts = [
        { relation = "capital", subject = "France", object = "Paris", kind = "city" },
        { relation = "capital", subject = "Costa Rica", object = "San Juan", kind = "city" },
        { relation = "capital", subject = "Peru", object = "Lima", kind = "city" },
        { relation = "continent", subject = "Peru", object = "America", kind = "continent" },
        { relation = "continent", subject = "France", object = "Europe", kind = "continent" },
    ]
    """,
    lambda: [
        *(text.format(s, o) for s, o in (("France", "Paris"), ("Costa Rica", "San Juan"), ("Peru", "Lima"))
          for text in ("The capital of {} is {}.", "In {} lies {}.")),
        "We find Peru in America.", "We find France in Europe.",
    ],
)  # fmt: skip
YEARS = Small(
    """
    answer = "later"
    phrasings = ["The {noun} was there from the year 17{YY} to the year 17{later}."]
    [slots]
    noun = ["dog", "king"]
    YY = { numbers = [7, 13], digits = 2 }
    later = { numbers = [8, 14], digits = 2, where = "later > YY" }
    [features]
    more = "later - YY"
    even = "later % 2 == 0"
    """,
    lambda: [
        f"The {noun} was there from the year 17{a:02d} to the year 17{b:02d}."
        for noun in ("dog", "king") for a in range(7, 14) for b in range(8, 15) if b > a
    ],
)  # fmt: skip
_NOUNS = (("dog", "dogs"), ("cat", "cats"), ("bird", "birds"))
VERBS = Small(
    """
    answer = "verb"
    phrasings = ["The {noun} near the {other} {verb} old.", "The {noun} with the {other} {verb} here."]
    [slots]
    subject = { row = "nouns" }
    number = ["one", "many"]
    noun = { pick = "number", of = ["subject.one", "subject.many"] }
    second = { row = "nouns", not = "subject" }
    "other number" = ["one", "many"]
    other = { pick = "other number", of = ["second.one", "second.many"] }
    verb = { pick = "number", texts = ["is", "are"] }
    [flip]
    other = ["number"]
    [tables]
    nouns = [["one", "many"], ["dog", "dogs"], ["cat", "cats"], ["bird", "birds"]]
    """,
    lambda: [
        f"The {noun[n]} {near} the {other[m]} {('is', 'are')[n]} {end}."
        for noun, other in itertools.permutations(_NOUNS, 2) for n in (0, 1) for m in (0, 1)
        for near, end in (("near", "old"), ("with", "here"))
    ],
)  # fmt: skip
AGAIN = Small(
    """
    answer = "B"
    phrasings = ["So: {A} {B} {C} {A} {B}", "So: {C} {A} {B} {A} {B}"]
    [slots]
    A = "words"
    B = { values = "words", not = "A" }
    C = { values = "words", not = ["A", "B"] }
    [lists]
    words = { values = ["dog", "cat", "tree", "ball", "zebra zoo"], tokens = 1, leave_out = true, least = 4 }
    """,
    lambda: [
        f"So: {text.format(a=a, b=b, c=c)}"
        for a, b, c in itertools.permutations(("dog", "cat", "tree", "ball"), 3)
        for text in ("{a} {b} {c} {a} {b}", "{c} {a} {b} {a} {b}")
    ],
)
ALL = {"likes": LIKES, "order": ORDER, "facts": FACTS, "years": YEARS, "verbs": VERBS, "again": AGAIN}


def write(folder: Path, toml: str, name: str = "small.toml") -> Path:
    """A template's file."""
    path = folder / name
    path.write_text("\n".join(line.strip() for line in toml.splitlines()), encoding="utf-8")
    return path


def words_of(texts: Sequence[str]) -> Vocabulary:
    """A tokenizer of whole words; numbers stand apart, and are one token for each two digits."""
    spread = [re.sub(r"(\d\d)(?=\d)", r"\1 ", text) for text in texts]
    return Vocabulary(word_tokenizer(spread))


def opened(folder: Path, small: Small, vocabulary: Vocabulary) -> TemplateTask:
    """The template in a tokenizer's tokens."""
    return TemplateTask.of(read_template(write(folder, small.toml)), vocabulary)
