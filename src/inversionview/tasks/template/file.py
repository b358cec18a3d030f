"""What a template's file declares: its keys, checked, with every mistake in one line that names its place."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from inversionview.errors import UserError
from inversionview.tasks.template.sources import Files, Table, checked_texts, read_list, read_table, table_of

DOMAINS = Path(__file__).with_name("domains")
"""Where the templates are that come with the package."""
PHRASING = "phrasing"
"""How the whole phrasing is called as a feature, and where something is changed, kept or held out."""
PLACES = ("END", "answer")
KEYS = ("name", "about", "start", "columns", "answer", "phrasings", "lists", "tables", "slots", "roles", "features",
        "changes", "flip", "held-out")  # fmt: skip
LIST_KEYS = ("values", "numbers", "digits", "tokens", "leave_out", "least")
SLOT_KINDS = ("values", "numbers", "row", "column", "pick", "one_of", "other")
SLOT_KEYS = tuple(dict.fromkeys((*SLOT_KINDS, "of", "texts", "not", "where", "about", *LIST_KEYS)))
MOST_NUMBERS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[^\s{}.,:+](?:[^{}.,:+]*[^\s{}.,:+])?")


@dataclass(frozen=True)
class ValueList:
    """Values that fill slots, and what the tokenizer must make of them."""

    name: str
    values: tuple[str, ...]
    tokens: int | None = None
    """So many tokens each; None for any number."""
    leave_out: bool = False
    """Values that the tokenizer cannot write so are left out, where they are else a mistake."""
    least: int = 1


@dataclass(frozen=True)
class Slot:
    """One slot, by what its value comes from."""

    name: str
    kind: Literal["values", "row", "column", "pick", "one_of"]
    values: ValueList | None = None
    table: str = ""
    column: tuple[str, str] = ("", "")
    by: str = ""
    of: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    where: str = ""
    about: str = ""
    tokens: int | None = None
    leave_out: bool = False
    """As in a `ValueList`, of what it takes from a table or picks."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The slots that its value is made of."""
        row = (self.column[0],) if self.kind == "column" else ()
        return (*row, *((self.by,) if self.by else ()), *(name.partition(".")[0] for name in self.of))


class Piece(NamedTuple):
    """A part of a phrasing: what stands there, or the slot that does; `role` names fixed words."""

    text: str
    slot: str = ""
    role: str = ""


@dataclass(frozen=True)
class Phrasing:
    """A way to write an input, and for which values of the slots it holds."""

    text: str
    parts: tuple[str, ...]
    when: str
    pieces: tuple[Piece, ...]

    @property
    def plain(self) -> str:
        """The text without the names of its words."""
        return "".join(f"{{{piece.slot}}}" if piece.slot else piece.text for piece in self.pieces)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that are written, in order, each as often as it is."""
        return tuple(piece.slot for piece in self.pieces if piece.slot)


class HeldOut(NamedTuple):
    """Combinations of slots of which a share is held out, or one text `one_in` so many."""

    of: tuple[str, ...]
    share: float
    unordered: bool
    one_in: int = 0
    keep: str = ""
    """A slot of whose every value one text stays for training."""


@dataclass(frozen=True)
class Declared:
    """A template as it is written."""

    name: str
    about: str
    answer: str
    phrasings: tuple[Phrasing, ...]
    parts: tuple[str, ...]
    """Names of the parts that phrasings are made of; empty where they are written whole."""
    slots: Mapping[str, Slot]
    tables: Mapping[str, Table]
    lists: Mapping[str, ValueList]
    roles: Mapping[str, Any]
    features: Mapping[str, Any]
    changes: Mapping[str, Any]
    flip: Mapping[str, tuple[str, ...]] | None
    held_out: Mapping[str, HeldOut]
    start: Mapping[str, Any]
    columns: tuple[str, ...]
    source: bytes = b""
    files: Files = field(default_factory=lambda: Files(Path()))
    replaced: tuple[str, ...] = ()
    """The lists of which others were given than the file has."""
    where: str = ""
    """What errors call the file."""

    @property
    def words(self) -> list[str]:
        """Texts that hold all that its inputs can hold, for a tokenizer that is made of them."""
        said = {slot: None for phrasing in self.phrasings for slot in phrasing.slots}
        while more := {one for slot in said if slot in self.slots for one in self.slots[slot].of} - set(said):
            said |= dict.fromkeys(sorted(more))
        values = [value for name in said for value in self._words_of(name)]
        written = {slot: values[0] for phrasing in self.phrasings for slot in phrasing.slots}
        texts = ["".join(written.get(piece.slot, piece.text) for piece in one.pieces) for one in self.phrasings]
        at_start = values if any(phrasing.pieces[0].slot for phrasing in self.phrasings) else []
        return [*texts, *at_start, *(f" {value}" for value in values)]

    def _words_of(self, name: str) -> Sequence[str]:
        """What a slot, or `ROW.COLUMN`, says by itself, and not by slots that it picks."""
        row, _, column = name.partition(".")
        slot = self.slots[row]
        if column or slot.kind == "column":
            row, column = (row, column) if column else slot.column
            return self.tables[self.slots[row].table].column(column)
        return slot.values.values if slot.values is not None else slot.texts

    def error(self, key: str, what: str) -> UserError:
        """What is wrong at a key of the file."""
        return UserError(f"{self.where}, {key}: {what}")


def bundled() -> dict[str, Path]:
    """The files of the templates that come with the package, by name."""
    return {path.stem: path for path in sorted(DOMAINS.glob("*.toml"))}


def read_template(path: str | Path, *, lists: Mapping[str, Sequence[str]] | None = None,
                  names: Mapping[str, str] | None = None, called: str = "") -> Declared:  # fmt: skip
    """What a template's file declares; `lists` are values to take in place of those of its lists.

    `names`: where files are that it names otherwise; `called`: its own name, where that was another one.

    Raises `UserError` that names the key or the line.
    """
    path = Path(path).expanduser()
    try:
        source = path.read_bytes()
        document = tomllib.loads(source.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"there is no template {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"the template {path} cannot be read: {error}") from error
    return _Reader(document, source, Files(path.parent, names or {}), called or path.name, dict(lists or {})).read()


class _Reader:
    """One document on its way to `Declared`; a class only because every step names the file and uses what was read."""

    def __init__(
        self, document: dict[str, Any], source: bytes, files: Files, where: str, given: dict[str, Sequence[str]]
    ) -> None:
        self.document, self.source, self.files, self.where, self.given = document, source, files, where, given
        self.lists: dict[str, ValueList] = {}
        self.tables: dict[str, Table] = {}
        self.slots: dict[str, Slot] = {}

    def read(self) -> Declared:
        document = self.document
        self.check_keys(document, KEYS, "the file")
        for key in ("answer", "phrasings", "slots"):
            if key not in document:
                raise self.error(key, f"it is missing; a template has {key}")
        for name, given in self.section("lists").items():
            self.lists[name] = self.value_list(name, f"lists.{name}", given)
        if unknown := sorted(set(self.given) - set(self.lists)):
            raise self.error("lists", f"there is no list {unknown[0]!r} to replace; there are {', '.join(self.lists)}")
        for name, given in self.section("tables").items():
            with self.at(f"tables.{name}"):
                self.tables[name] = read_table(self.files, given) if isinstance(given, str) else table_of(given, "it")
        for name, given in self.section("slots").items():
            self.slots[name] = self.slot(self.checked_name(name, "slots"), given)
        for slot in self.slots.values():
            self.check_references(slot)
        parts, phrasings = self.phrasings(document["phrasings"])
        answer = self.text("answer", document["answer"])
        if answer not in self.slots:
            raise self.error("answer", f"there is no slot {answer!r}; the slots are {', '.join(self.slots)}")
        declared = Declared(
            name=self.text("name", document.get("name", self.where.removesuffix(".toml"))),
            about=self.text("about", document.get("about", "Inputs of a template.")), answer=answer,
            phrasings=tuple(phrasings), parts=tuple(parts), slots=self.slots, tables=self.tables, lists=self.lists,
            roles=self.section("roles"), features=self.section("features"), changes=self.section("changes"),
            flip=self.flip(), held_out=self.held_out((*self.slots, PHRASING, *parts)), start=self.start(),
            columns=tuple(checked_texts(document["columns"], "columns")) if "columns" in document else (),
            source=self.source, files=self.files, replaced=tuple(self.given), where=self.where,
        )  # fmt: skip
        self.check_use(declared)
        return declared

    def error(self, key: str, what: str) -> UserError:
        return UserError(f"{self.where}, {key}: {what}")

    @contextmanager
    def at(self, key: str) -> Any:
        """Whatever is wrong inside is wrong at this key."""
        try:
            yield
        except UserError as error:
            raise self.error(key, str(error)) from error

    def section(self, name: str) -> dict[str, Any]:
        content = self.document.get(name, {})
        if not isinstance(content, dict):
            raise self.error(name, f"it is a section, [{name}], with a key for each of its things")
        return content

    def check_keys(self, content: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        if unknown := [key for key in content if key not in known]:
            raise self.error(where, f"there is no key {unknown[0]!r}; the keys are {', '.join(known)}")

    def checked_name(self, name: str, where: str) -> str:
        if not _NAME.fullmatch(name) or name in (*PLACES, PHRASING):
            raise self.error(where, f"{name!r} cannot be the name of a slot: it has no . , : + or braces in it, and is "
                                    f"none of {', '.join((*PLACES, PHRASING))}")  # fmt: skip
        return name

    def text(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"a text is needed, not {value!r}")
        return value

    def names(self, key: str, value: Any, known: Sequence[str]) -> tuple[str, ...]:
        """One name or several, all of which are known."""
        with self.at(key):
            names = checked_texts([value] if isinstance(value, str) else value, "it")
        if unknown := [name for name in names if name not in known]:
            raise self.error(key, f"there is no slot {unknown[0]!r}; there are {', '.join(known)}")
        return tuple(names)

    def value_list(self, name: str, key: str, given: Any) -> ValueList:
        content = given if isinstance(given, dict) else {"values": given}
        self.check_keys(content, LIST_KEYS, key)
        if ("values" in content) == ("numbers" in content):
            raise self.error(key, "a list has either values or numbers")
        if "numbers" in content:
            return self.made_list(name, key, self.numbers(key, content), content)
        values = content["values"]
        with self.at(key):
            if key == f"lists.{name}" and name in self.given:
                values = checked_texts(list(self.given[name]), "it")
            else:
                values = read_list(self.files, values) if isinstance(values, str) else checked_texts(values, "it")
        return self.made_list(name, key, values, content)

    def made_list(self, name: str, key: str, values: Sequence[str], content: Mapping[str, Any]) -> ValueList:
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            raise self.error(key, f"{twice[0]!r} is there twice, so that two choices give one text")
        tokens, least = content.get("tokens"), content.get("least", 1)
        for what, number in (("tokens", tokens), ("least", least)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise self.error(key, f"{what} is a number of 1 or more, not {number!r}")
        return ValueList(name, tuple(values), tokens, bool(content.get("leave_out", False)), least)

    def slot(self, name: str, given: Any) -> Slot:
        key = f"slots.{name}"
        content = given if isinstance(given, dict) else {"values": given}
        self.check_keys(content, SLOT_KEYS, key)
        kinds = [kind for kind in SLOT_KINDS if kind in content]
        if len(kinds) != 1:
            raise self.error(key, f"a slot has one of {', '.join(SLOT_KINDS)}, not {' and '.join(kinds) or 'none'}")
        unlike = content.get("not", [])
        common: dict[str, Any] = {
            "unlike": tuple([unlike] if isinstance(unlike, str) else unlike), "where": content.get("where", ""),
            "about": content.get("about", ""), "tokens": content.get("tokens"),
            "leave_out": bool(content.get("leave_out", False)),
        }  # fmt: skip
        value = content[kinds[0]]
        if kinds[0] in ("values", "numbers"):
            return Slot(name, "values", values=self.slot_values(name, key, content), **common)
        match kinds[0]:
            case "row":
                if value not in self.tables:
                    raise self.error(key, f"there is no table {value!r}; there are {', '.join(self.tables) or 'none'}")
                return Slot(name, "row", table=value, **common)
            case "column":
                row, dot, column = str(value).partition(".")
                if not dot:
                    raise self.error(key, f"a column is written ROW.COLUMN, such as fact.subject, not {value!r}")
                return Slot(name, "column", column=(row, column), **common)
            case "one_of":
                return Slot(name, "one_of", by=name, of=tuple(value), **common)
            case "other":
                first = self.document["slots"].get(value)
                of = first.get("one_of") if isinstance(first, dict) else None
                if not isinstance(of, list) or len(of) != 2:
                    raise self.error(key, f"other names a slot that is one_of two others, not {value!r}")
                return Slot(name, "pick", by=value, of=tuple(reversed(of)), **common)
        if ("of" in content) == ("texts" in content):
            raise self.error(key, "pick needs either of, slots to pick from, or texts")
        texts = checked_texts(content["texts"], f"{self.where}, {key}") if "texts" in content else []
        return Slot(name, "pick", by=str(value), of=tuple(content.get("of", ())), texts=tuple(texts), **common)

    def numbers(self, key: str, content: Mapping[str, Any]) -> list[str]:
        ends, digits = content["numbers"], content.get("digits", 1)
        if not (isinstance(ends, list) and len(ends) == 2 and all(type(end) is int for end in (*ends, digits))):
            raise self.error(key, f"numbers are [first, last], and digits a number, not {ends!r}, {digits!r}")
        if not 0 < ends[1] - ends[0] + 1 <= MOST_NUMBERS:
            raise self.error(key, f"numbers are 1 to {MOST_NUMBERS:,} of them, not {ends[1] - ends[0] + 1:,}")
        return [f"{number:0{digits}d}" for number in range(ends[0], ends[1] + 1)]

    def slot_values(self, name: str, key: str, content: Mapping[str, Any]) -> ValueList:
        own = {one: content[one] for one in LIST_KEYS if one in content}
        values = content.get("values")
        if isinstance(values, str) and values in self.lists:
            if more := [one for one in own if one != "values"]:
                raise self.error(key, f"say {more[0]} in lists.{values}, which other slots may have too")
            return self.lists[values]
        if isinstance(values, str) and "." not in values:
            raise self.error(key, f"there is no list {values!r}; there are {', '.join(self.lists) or 'none'}")
        return self.value_list(name, key, own)

    def check_references(self, slot: Slot) -> None:
        """Every slot it names is there, and what it is made of does not lead back to it."""
        key = f"slots.{slot.name}"
        self.names(key, list(slot.unlike) or [slot.name], list(self.slots))
        for name in slot.of:
            self.reference(key, name)
        if slot.kind == "column":
            self.reference(key, ".".join(slot.column))
        if slot.by:
            self.names(key, slot.by, list(self.slots))
            chooser = self.slots[slot.by]
            many = len(slot.of or slot.texts)
            has = len(chooser.values.values) if chooser.values else len(chooser.of) if chooser.kind == "one_of" else 0
            if has != many:
                raise self.error(key, f"{slot.by} has {has} values, and there are {many} to pick from")
        path = [slot.name]

        def follow(name: str) -> None:
            for needed in self.slots[name].needs:
                if needed == name and self.slots[name].kind == "one_of":
                    continue
                if needed in path:
                    raise self.error(key, f"slots in a circle: {' needs '.join([*path, needed])}")
                if needed in self.slots:
                    path.append(needed)
                    follow(needed)
                    path.pop()

        follow(slot.name)

    def reference(self, key: str, name: str) -> None:
        """A slot, or a column of a slot that is a row of a table."""
        row, dot, column = name.partition(".")
        self.names(key, row, list(self.slots))
        slot = self.slots[row]
        if not dot and slot.kind == "row":
            raise self.error(key, f"{row} is a row of a table: name one of its columns, as in {row}.COLUMN")
        if dot and slot.kind != "row":
            raise self.error(key, f"{row} is no row of a table, so that it has no column {column!r}")
        if dot and column not in self.tables[slot.table].columns:
            has = ", ".join(self.tables[slot.table].columns)
            raise self.error(key, f"table {slot.table} has no column {column!r}; its columns are {has}")

    def phrasings(self, given: Any) -> tuple[list[str], list[Phrasing]]:
        """Names of the parts, and the phrasings."""
        key = "phrasings"
        if isinstance(given, dict):
            with self.at(key):
                lists = [self.part(name, texts) for name, texts in given.items()]
            made = [("".join(parts), parts, "") for parts in product(*lists)]
            names = [self.checked_name(name, key) for name in given]
        elif isinstance(given, list) and given and all(isinstance(one, dict) for one in given):
            made, names = [], []
            for number, one in enumerate(given, start=1):
                where = f"{key}[{number}]"
                self.check_keys(one, ("texts", "when"), where)
                with self.at(where):
                    made += [(text, (), one.get("when", "")) for text in self.part("texts", one.get("texts"))]
        else:
            with self.at(key):
                made, names = [(text, (), "") for text in self.part("it", given)], []
        phrasings = [self.phrasing(text, parts, when) for text, parts, when in made]
        texts = [phrasing.text for phrasing in phrasings]
        for i, phrasing in enumerate(phrasings):
            if phrasing.text in texts[:i] and not phrasing.when:
                raise self.error(key, f"two phrasings are equal: {phrasing.text!r}")
        return names, phrasings

    def part(self, name: str, texts: Any) -> list[str]:
        if isinstance(texts, str):
            return read_list(self.files, texts)
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise UserError(f"{name} is a list of one text or more")
        return texts

    def phrasing(self, text: str, parts: tuple[str, ...], when: str) -> Phrasing:
        def wrong(what: str) -> UserError:
            return self.error("phrasings", f"{what} in {text!r}")

        pieces: list[Piece] = []
        for i, part in enumerate(_BRACES.split(text)):
            if i % 2 == 0:
                if "{" in part or "}" in part:
                    raise wrong("a brace stands alone")
                pieces += [Piece(part)] if part else []
                continue
            role, colon, words = part.partition(":")
            if colon:
                if not role or not words.strip() or role in PLACES:
                    raise wrong(f"{{{part}}} is no word with a name of its own, such as {{relation:capital}},")
                pieces.append(Piece(words, role=role))
                continue
            if part not in self.slots:
                raise wrong(f"there is no slot {part!r}; the slots are {', '.join(self.slots)};")
            if self.slots[part].kind == "row":
                raise wrong(f"{part} is a row of a table, and a slot takes one of its columns; it stands")
            if pieces and pieces[-1].slot:
                raise wrong(f"something must stand between {{{pieces[-1].slot}}} and {{{part}}}")
            pieces.append(Piece("", slot=part))
        if text != text.strip():
            raise wrong("spaces stand at an end")
        return Phrasing(text, parts, when, tuple(pieces))

    def flip(self) -> Mapping[str, tuple[str, ...]] | None:
        content = self.section("flip")
        self.check_keys(content, ("swap", "other"), "flip")
        return {how: self.names(f"flip.{how}", names, list(self.slots)) for how, names in content.items()} or None

    def held_out(self, known: Sequence[str]) -> dict[str, HeldOut]:
        rules = {}
        for name, rule in self.section("held-out").items():
            key = f"held-out.{name}"
            if isinstance(rule, dict) and "one_in" in rule:
                rules[name] = self.held_out_texts(key, rule, known)
                continue
            if not isinstance(rule, dict) or "of" not in rule:
                raise self.error(key, "it names the slots whose combinations are held out, of = [...], or has one_in")
            self.check_keys(rule, ("of", "share", "unordered"), key)
            share = rule.get("share", 0.1)
            if not isinstance(share, int | float) or not 0 < share < 1:
                raise self.error(key, f"share is between 0 and 1, not {share!r}")
            rules[name] = HeldOut(self.names(key, rule["of"], known), share, bool(rule.get("unordered")))
        return rules

    def held_out_texts(self, key: str, rule: Mapping[str, Any], known: Sequence[str]) -> HeldOut:
        self.check_keys(rule, ("one_in", "keep"), key)
        one_in = rule["one_in"]
        if isinstance(one_in, bool) or not isinstance(one_in, int) or one_in < 2:
            raise self.error(key, f"one_in is a number of 2 or more, not {one_in!r}")
        if not isinstance(keep := rule.get("keep", ""), str):
            raise self.error(key, f"keep names one slot, not {keep!r}")
        return HeldOut((), 0.0, False, one_in, self.names(key, keep, known)[0] if keep else "")

    def start(self) -> dict[str, Any]:
        content = self.section("start")
        self.check_keys(content, ("input", "at"), "start")
        return content

    def check_use(self, declared: Declared) -> None:
        """Every slot is written somewhere, or something that is written needs it; every phrasing has the answer."""
        used = {name for phrasing in declared.phrasings for name in phrasing.slots}
        for name in {piece.role for phrasing in declared.phrasings for piece in phrasing.pieces} & used:
            raise self.error("phrasings", f"{name} is a slot, so that no other word can have this name")
        conditions = [*(slot.where for slot in self.slots.values()), *(one.when for one in declared.phrasings)]
        used |= {
            name for name in self.slots
            if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", str(text)) for text in conditions)
        }  # fmt: skip
        for phrasing in declared.phrasings:
            if declared.answer not in phrasing.slots:
                raise self.error("phrasings", f"the answer {{{declared.answer}}} is not in {phrasing.text!r}")
        while more := {needed for name in used for needed in self.slots[name].needs} - used:
            used |= more
        if unused := [name for name in self.slots if name not in used]:
            raise self.error(f"slots.{unused[0]}", "no phrasing uses it")
