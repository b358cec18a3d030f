"""Tables of facts, and in which phrasings each is said."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from inversionview.errors import UserError
from inversionview.files import checked_schema, read_json, write_atomic

BEAR: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("phrasings.toml").read_text(encoding="utf-8"))
"""Of Wikidata's properties, for BEAR's files where its own templates are not beside them."""
_MARKED = re.compile(r"\*(.+?)\*")


@dataclass(frozen=True)
class Fact:
    """What a relation says of a subject."""

    relation: str
    subject: str
    object: str
    kind: str
    """Of the object: city, currency, language, ..."""


@dataclass(frozen=True)
class Phrasing:
    """A way to say facts: what stands before the subject, between it and the object, and behind that."""

    before: str
    between: str
    after: str = "."
    named: str = ""
    """The word that names the relation; empty where none was marked."""

    @classmethod
    def parse(cls, text: str) -> Phrasing:
        """Of a text such as `The *capital* of {subject} is {object}.`

        Raises `UserError` where subject and object are not there once each, in this order.
        """
        marked = _MARKED.search(text)
        plain = _MARKED.sub(r"\1", text)
        parts = plain.replace("{object}", "{subject}").split("{subject}")
        if len(parts) != 3 or plain.count("{object}") != 1 or plain.find("{subject}") > plain.find("{object}"):
            raise UserError(f"the phrasing {text!r} must have {{subject}} once, and then {{object}} once")
        before, _, rest = plain.partition("{subject}")
        between, _, after = rest.partition("{object}")
        return cls(before, between, after, marked.group(1) if marked else "")

    def __str__(self) -> str:
        return f"{self.before}{{subject}}{self.between}{{object}}{self.after}"


class Statement(NamedTuple):
    """A fact in one phrasing: its text, and at which characters its parts stand."""

    fact: int
    phrasing: int
    text: str
    subject: tuple[int, int]
    object: tuple[int, int]
    relation: tuple[int, int] | None


@dataclass(frozen=True)
class FactTable:
    """Facts, phrasings, and the pairs of their indices that are said."""

    facts: tuple[Fact, ...]
    phrasings: tuple[Phrasing, ...]
    uses: tuple[tuple[int, int], ...]
    sources: tuple[str, ...] = ()

    @classmethod
    def of_relations(
        cls, facts: Sequence[Fact], phrasings: Mapping[str, Sequence[str]], sources: Sequence[str] = ()
    ) -> FactTable:
        """Every fact in all phrasings of its relation. Raises `UserError` for a relation that has none."""
        parsed: list[Phrasing] = []
        of: dict[str, range] = {}
        for relation in dict.fromkeys(fact.relation for fact in facts):
            if not phrasings.get(relation):
                raise UserError(f"there is no phrasing of the relation {relation!r}")
            own = [Phrasing.parse(text) for text in phrasings[relation]]
            of[relation] = range(len(parsed), len(parsed) + len(own))
            parsed += own
        uses = tuple((i, j) for i, fact in enumerate(facts) for j in of[fact.relation])
        return cls(tuple(facts), tuple(parsed), uses, tuple(sources))

    @classmethod
    def merged(cls, tables: Sequence[FactTable]) -> FactTable:
        """All facts of some tables, each in the phrasings that it has there."""
        facts: list[Fact] = []
        phrasings: list[Phrasing] = []
        uses: list[tuple[int, int]] = []
        for table in tables:
            uses += [(len(facts) + i, len(phrasings) + j) for i, j in table.uses]
            facts += table.facts
            phrasings += table.phrasings
        sources = [source for table in tables for source in table.sources]
        return cls(tuple(facts), tuple(phrasings), tuple(uses), tuple(dict.fromkeys(sources)))

    def statements(self) -> Iterator[Statement]:
        """Every text once; where two facts give the same one, that of the first."""
        seen: set[str] = set()
        for i, j in self.uses:
            said = _said(i, self.facts[i], j, self.phrasings[j])
            if said.text not in seen:
                seen.add(said.text)
                yield said

    def save(self, path: Path) -> None:
        """Write it as one JSON document."""
        document = {"schema": 1, **asdict(self)}
        write_atomic(path, json.dumps(document, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> FactTable:
        """Read what `save` wrote. Raises `UserError` when it is missing or damaged."""
        document = checked_schema(read_json(path, "table of facts"), path, "a table of facts", 1)
        try:
            return cls(
                tuple(Fact(**fact) for fact in document["facts"]),
                tuple(Phrasing(**phrasing) for phrasing in document["phrasings"]),
                tuple((int(i), int(j)) for i, j in document["uses"]),
                tuple(document["sources"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the table of facts {path} is damaged: {error}") from error


def _said(i: int, fact: Fact, j: int, phrasing: Phrasing) -> Statement:
    start = len(phrasing.before)
    subject = (start, start + len(fact.subject))
    start = subject[1] + len(phrasing.between)
    spoken = (start, start + len(fact.object))
    text = phrasing.before + fact.subject + phrasing.between + fact.object + phrasing.after
    return Statement(i, j, text, subject, spoken, _named(phrasing, subject[1]))


def _named(phrasing: Phrasing, behind_subject: int) -> tuple[int, int] | None:
    """At which characters the word that names the relation stands."""
    if not phrasing.named:
        return None
    for text, shift in ((phrasing.before, 0), (phrasing.between, behind_subject)):
        word = re.search(rf"(?<!\w){re.escape(phrasing.named)}(?!\w)", text)
        if word:
            return shift + word.start(), shift + word.end()
    return None
