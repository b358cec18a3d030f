"""Which position plays which role in each form of a template."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from inversionview.tasks.template.file import PLACES
from inversionview.tasks.template.forms import Form, Forms, find_atom, parse_position

Positioned = tuple[int, str, int]
"""An atom (-1: the form lacks it), its `first` or `last` token, and steps to the right."""
LACKING: Positioned = (-1, "last", 0)


def role_table(forms: Forms) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, list[Positioned]]]:
    """The roles as they are shown, the same in the order in which they name positions, and where each form has them.

    END, from which the answer is predicted, comes first of those at one position, a slot's first token last.
    """
    declared = forms.space.declared
    named = dict(declared.roles) or {name: name for name in _slots_and_words(forms)}
    given = {name: what for name, what in named.items() if name not in PLACES or what != name}
    standing = {name for form in forms.forms for name in _names_in(form)}
    finders = [_Finder(forms, form, given, standing) for form in forms.forms]
    table = {name: [finder.find(name) for finder in finders] for name in (*given, *PLACES)}
    called = {what for what in named.values() if isinstance(what, str)}
    shown = (*named, *(place for place in PLACES if place not in named and place not in called))
    missing = [name for name in given if all(atom < 0 for atom, _, _ in table[name])]
    if missing:
        raise declared.error(f"roles.{missing[0]}", f"no phrasing has {declared.roles.get(missing[0])!r}")
    firsts = [name for name in given if _is_first(given[name])]
    order = ("END", *(name for name in given if name not in firsts and name != "END"), *firsts, "answer")
    return shown, tuple(dict.fromkeys(order)), table


def _names_in(form: Form) -> Iterator[str]:
    """What `find_atom` finds in a form."""
    times: dict[str, int] = {}
    for atom in form.atoms:
        for name in {atom.slot, atom.role} - {""}:
            times[name] = times.get(name, 0) + 1
            yield from (name, f"{name}.{times[name]}")


def _slots_and_words(forms: Forms) -> list[str]:
    """Slots in the order in which they are written, with their first token where some value has several, and words.

    A slot that stands in a phrasing twice is `A` and `A.2`; where the answer stands is `answer`.
    """
    names: dict[str, None] = {}
    words: dict[str, None] = {}
    for number, form in enumerate(forms.forms):
        seen: dict[str, int] = {}
        for index, atom in enumerate(form.atoms):
            if atom.role:
                words[atom.role] = None
            if not atom.slot or index == int(forms.answers[number]):
                continue
            seen[atom.slot] = seen.get(atom.slot, 0) + 1
            name = atom.slot if seen[atom.slot] == 1 else f"{atom.slot}.{seen[atom.slot]}"
            if forms.longest(atom.speaker) > 1:
                names.setdefault(f"{name}.first", None)
            names.setdefault(name, None)
    return [*names, *words]


def _is_first(what: Any) -> bool:
    return isinstance(what, str) and parse_position(what)[1] == "first"


class _Finder:
    """Finds roles in one form; a class only because a role may be said by another one."""

    def __init__(self, forms: Forms, form: Form, given: Mapping[str, Any], standing: Collection[str]) -> None:
        self.forms, self.form, self.given, self.standing = forms, form, given, standing
        self.declared = forms.space.declared

    def find(self, name: str, *asked: str) -> Positioned:
        if name in asked:
            raise self.declared.error(f"roles.{name}", "it is said by itself")
        if name in self.given:
            return self.position(self.given[name], (*asked, name))
        answer = int(self.forms.answers[self.forms.forms.index(self.form)])
        return (answer, "first", -1 if name == "END" else 0)

    def position(self, what: Any, asked: tuple[str, ...]) -> Positioned:
        key = f"roles.{asked[0]}"
        if isinstance(what, dict):
            if set(what) != {"pick", "of"} or what["pick"] not in self.forms.space.choosers:
                there_are = ", ".join(self.forms.space.choosers) or "no slot that others are picked by"
                raise self.declared.error(key, f"it is {{pick = SLOT, of = [...]}}, where SLOT is {there_are}")
            chosen = self.forms.space.variants[self.form.variant][what["pick"]]
            return self.position(what["of"][chosen], asked)
        if not isinstance(what, str):
            raise self.declared.error(
                key, f"a position is the name of a slot or word, such as A, A.first, A+1, not {what!r}"
            )
        name, end, shift = parse_position(what)
        if name in self.standing:
            return (find_atom(self.form, name), end, shift)
        if name not in self.given and name not in PLACES:
            there_are = ", ".join(_slots_and_words(self.forms))
            raise self.declared.error(key, f"there is no slot or word {name!r}; there are {there_are}, END, answer")
        atom, of, more = self.find(name, *asked)
        return (atom, "first" if end == "first" else of, shift + more) if atom >= 0 else LACKING
