"""Tables of facts, and in which phrasings each is said."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    aliases: tuple[str, ...] = ()
    """Other names of the subject."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the subject, each once."""
        return tuple(dict.fromkeys((self.subject, *self.aliases)))


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
    """A fact in one phrasing, by one name of its subject: its text, and at which characters its parts stand."""

    fact: int
    phrasing: int
    text: str
    subject: tuple[int, int]
    object: tuple[int, int]
    relation: tuple[int, int] | None
    name: str
    first: int
    """The first fact that is told alike: itself, or one of the same relation and object that has a name in common."""
    split_by: str
    """The text that it is by the first one's own name: all that have the same are held out together, or none is."""


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
    def of_statements(cls, said: Iterable[tuple[Fact, Phrasing]], sources: Sequence[str] = ()) -> FactTable:
        """Facts in the phrasings that they are said in; the same fact, or phrasing, is one, with all of its names."""
        numbers: dict[tuple[str, str, str], int] = {}
        facts: list[Fact] = []
        phrasings: dict[Phrasing, int] = {}
        uses: dict[tuple[int, int], None] = {}
        for fact, phrasing in said:
            i = numbers.setdefault((fact.relation, fact.subject, fact.object), len(facts))
            if i == len(facts):
                facts.append(fact)
            elif fact.aliases != facts[i].aliases:
                facts[i] = replace(facts[i], aliases=tuple(dict.fromkeys(facts[i].aliases + fact.aliases)))
            uses[i, phrasings.setdefault(phrasing, len(phrasings))] = None
        return cls(tuple(facts), tuple(phrasings), tuple(uses), tuple(sources))

    @classmethod
    def merged(cls, tables: Sequence[FactTable]) -> FactTable:
        """All facts of some tables, each in the phrasings that it has in any of them."""
        said = ((table.facts[i], table.phrasings[j]) for table in tables for i, j in table.uses)
        sources = [source for table in tables for source in table.sources]
        return cls.of_statements(said, tuple(dict.fromkeys(sources)))

    def statements(self) -> Iterator[Statement]:
        """Every fact in its phrasings by all names of its subject; of two that give the same text, the first."""
        seen: set[str] = set()
        first = self._first_told_alike()
        for i, j in self.uses:
            for name in self.facts[i].names:
                said = _said(i, name, j, self.phrasings[j], self.facts[i], first[i], self.facts[first[i]].subject)
                if said.text not in seen:
                    seen.add(said.text)
                    yield said

    def _first_told_alike(self) -> list[int]:
        """For each fact the first of those that are joined to it by names in common, relation and object being one."""
        first = list(range(len(self.facts)))

        def of(i: int) -> int:
            while first[i] != i:
                i = first[i] = first[first[i]]
            return i

        told: dict[tuple[str, str, str], int] = {}
        for i, fact in enumerate(self.facts):
            for name in fact.names:
                other = told.setdefault((fact.relation, fact.object, name), i)
                low, high = sorted((of(other), of(i)))
                first[high] = low
        return [of(i) for i in first]

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
                tuple(Fact(**{**fact, "aliases": tuple(fact.get("aliases", ()))}) for fact in document["facts"]),
                tuple(Phrasing(**phrasing) for phrasing in document["phrasings"]),
                tuple((int(i), int(j)) for i, j in document["uses"]),
                tuple(document["sources"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the table of facts {path} is damaged: {error}") from error


def _said(i: int, name: str, j: int, phrasing: Phrasing, fact: Fact, first: int, own_name: str) -> Statement:
    start = len(phrasing.before)
    subject = (start, start + len(name))
    start = subject[1] + len(phrasing.between)
    spoken = (start, start + len(fact.object))
    text, by_own = (
        phrasing.before + called + phrasing.between + fact.object + phrasing.after for called in (name, own_name)
    )
    return Statement(i, j, text, subject, spoken, _named(phrasing, subject[1]), name, first, by_own)


def _named(phrasing: Phrasing, behind_subject: int) -> tuple[int, int] | None:
    """At which characters the word that names the relation stands."""
    if not phrasing.named:
        return None
    for text, shift in ((phrasing.before, 0), (phrasing.between, behind_subject)):
        word = re.search(rf"(?<!\w){re.escape(phrasing.named)}(?!\w)", text)
        if word:
            return shift + word.start(), shift + word.end()
    return None
