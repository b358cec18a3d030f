"""How a tokenizer writes the pieces of a template, and which values it cannot write as they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from inversionview.errors import UserError
from inversionview.tasks.template.file import Declared, Phrasing, Slot, ValueList
from inversionview.tasks.template.sources import Table
from inversionview.tasks.vocabulary import Vocabulary

Spelled = tuple[int, ...]
_SHOWN = 5


class Segment(NamedTuple):
    """A piece of a phrasing with the space before it, which most tokenizers put into its token."""

    text: str
    """Of fixed words all, of a slot what stands before its value: a space, or nothing."""
    slot: str
    role: str
    before: str
    """What the text behind it is read after, from the last space on."""


class Place(NamedTuple):
    """Where a slot stands, as far as it matters for how its value is written."""

    before: str
    space: str


def segments(phrasing: Phrasing) -> Iterator[Segment]:
    """The pieces of a phrasing, each with the space before it."""
    space, so_far = "", ""
    for number, piece in enumerate(phrasing.pieces):
        if piece.slot:
            chunk = "" if space else so_far[so_far.rfind(" ") + 1 :] if " " in so_far else so_far
            yield Segment(space, piece.slot, "", chunk)
            space, so_far = "", f"{so_far}{space}a"  # whatever stands there
            continue
        text = space + piece.text
        space = " " if text.endswith(" ") and number + 1 < len(phrasing.pieces) else ""
        text = text.removesuffix(space)
        if text:
            yield Segment(text, "", piece.role, "")
        so_far += text


class Speller:
    """The tokens of words where they stand, each asked for once."""

    def __init__(self, vocabulary: Vocabulary, lead: str) -> None:
        self.vocabulary, self.lead = vocabulary, lead
        self._spelled: dict[tuple[Place, str], Spelled | None] = {}

    def spell(self, place: Place, words: Sequence[str]) -> list[Spelled | None]:
        """The tokens of each word there; None where they do not stand apart from those before, or are not known."""
        missing = [word for word in dict.fromkeys(words) if (place, word) not in self._spelled]
        if missing:
            # A tokenizer may treat the start of a text in its own way: only what stands there is read there.
            context = f"{self.lead} {place.before}" if place.before else self.lead if place.space else ""
            start, *of_words = self.vocabulary.all_ids([context, *(f"{context}{place.space}{w}" for w in missing)])
            for word, ids in zip(missing, of_words, strict=True):
                own = tuple(ids[len(start) :])
                apart = ids[: len(start)] == start and own and not self.vocabulary.special.intersection(own)
                self._spelled[place, word] = own if apart else None
        return [self._spelled[place, word] for word in words]


class Source(NamedTuple):
    """Where a slot's words come from: a list, a column of a table, or texts of its own."""

    key: str
    """Its place in the file."""
    words: tuple[str, ...]
    tokens: int | None
    leave_out: bool
    least: int


def sources_of(declared: Declared, name: str) -> list[Source]:
    """The lists and columns that a slot's words come from."""
    row, dot, column = name.partition(".")
    slot = declared.slots[row]
    if dot or slot.kind == "column":
        of, column = (row, column) if dot else slot.column
        return [_column(declared, slot, of, column)]
    if slot.values is not None:
        return [_list(declared, slot.values)]
    if slot.texts:
        return [Source(f"slots.{name}", slot.texts, slot.tokens, slot.leave_out, 1)]
    own = [source for one in slot.of for source in sources_of(declared, one)]
    return [source._replace(tokens=slot.tokens or source.tokens) for source in dict.fromkeys(own)]


def _column(declared: Declared, slot: Slot, row: str, column: str) -> Source:
    table = declared.slots[row].table
    words = tuple(dict.fromkeys(declared.tables[table].column(column)))
    return Source(f"tables.{table}.{column}", words, slot.tokens, slot.leave_out, 1)


def _list(declared: Declared, values: ValueList) -> Source:
    key = "lists" if declared.lists.get(values.name) == values else "slots"
    return Source(f"{key}.{values.name}", values.values, values.tokens, values.leave_out, values.least)


def lead_of(declared: Declared) -> str:
    """A word that some phrasing begins with, behind which other words are tried."""
    starts = (phrasing.pieces[0].text.split(" ")[0] for phrasing in declared.phrasings if phrasing.pieces[0].text)
    return next((word for word in starts if word.isalpha()), "The")


Bad = dict[Source, dict[str, str]]
"""Words that cannot be written as they should, and why."""


def misspelt(declared: Declared, speller: Speller) -> Bad:
    """The words that are not as many tokens as asked for, or not known, or the same tokens as another word."""
    bad: Bad = {}
    places = {(segment.slot, Place(segment.before, segment.text))
              for phrasing in declared.phrasings for segment in segments(phrasing) if segment.slot}  # fmt: skip
    for slot, place in sorted(places):
        for source in sources_of(declared, slot):
            seen: dict[Spelled, str] = {}
            for word, ids in zip(source.words, speller.spell(place, source.words), strict=True):
                if ids is None:
                    why = "not known, or not apart from what stands before"
                elif source.tokens is not None and len(ids) != source.tokens:
                    why = f"{len(ids)} tokens"
                elif seen.setdefault(ids, word) != word:
                    why = f"the tokens of {seen[ids]!r}"
                else:
                    continue
                bad.setdefault(source, {}).setdefault(word, why)
    return bad


def without(declared: Declared, bad: Mapping[Source, Mapping[str, str]]) -> Declared:
    """The template without these words. Raises `UserError` where they may not be left out, or too few are left."""
    for source, words in bad.items():
        shown = ", ".join(f"{word!r} ({why})" for word, why in list(words.items())[:_SHOWN])
        shown += f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        left, name = len(source.words) - len(words), source.key.rpartition(".")[2]
        asked = {None: "can be written", 1: "are one token"}.get(source.tokens, f"are {source.tokens} tokens")
        if not source.leave_out:
            raise declared.error(
                source.key, f"{len(words)} of {len(source.words)} values cannot be used in this tokenizer: {shown}; "
                "give others, or say leave_out = true"
            )  # fmt: skip
        if left < source.least:
            raise declared.error(
                source.key, f"{left} of the {len(source.words)} {name} {asked} in this tokenizer, and at least "
                f"{source.least} {'is' if source.least == 1 else 'are'} needed: give {name} that it has as whole words"
            )  # fmt: skip
    dropped = {source.key: words for source, words in bad.items()}
    fresh = {values: _kept(declared, values, dropped) for values in _all_lists(declared)}
    slots = {
        name: slot if slot.values is None else dataclasses.replace(slot, values=fresh[slot.values])
        for name, slot in declared.slots.items()
    }
    tables = {name: _rows_left(declared, name, table, dropped) for name, table in declared.tables.items()}
    lists = {name: fresh[values] for name, values in declared.lists.items()}
    return dataclasses.replace(declared, slots=slots, tables=tables, lists=lists)


def _all_lists(declared: Declared) -> list[ValueList]:
    of_slots = [slot.values for slot in declared.slots.values() if slot.values is not None]
    return list(dict.fromkeys([*declared.lists.values(), *of_slots]))


def _kept(declared: Declared, values: ValueList, dropped: Mapping[str, Mapping[str, str]]) -> ValueList:
    gone = dropped.get(_list(declared, values).key, {})
    return dataclasses.replace(values, values=tuple(word for word in values.values if word not in gone))


def _rows_left(declared: Declared, name: str, table: Table, dropped: Mapping[str, Mapping[str, str]]) -> Table:
    gone = {column: dropped.get(f"tables.{name}.{column}", {}) for column in table.columns}
    rows = tuple(
        row
        for row in table.rows
        if not any(text in gone[column] for text, column in zip(row, table.columns, strict=True))
    )
    if not rows:
        raise declared.error(f"tables.{name}", "no row is left that this tokenizer can write")
    return dataclasses.replace(table, rows=rows)


def check_known(vocabulary: Vocabulary, text: str) -> None:
    """Raise `UserError` for a text with words that the tokenizer does not know."""
    if vocabulary.special.intersection(vocabulary.ids(text)):
        raise UserError(f"the tokenizer does not know all words of {text!r}")
