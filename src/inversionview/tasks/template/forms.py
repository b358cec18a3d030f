"""Inputs of a template as tokens: every phrasing as a row of atoms, fixed words and slots, and how choices fill it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import PositionMask, Positions, Tokens
from inversionview.tasks.template.choices import Choices, Joint, Single, Space, Variable
from inversionview.tasks.template.spelling import Place, Segment, Spelled, Speller, segments
from inversionview.tasks.vocabulary import Vocabulary

_TRIED = 8
_POSITION = re.compile(r"(.+?)(\.first)?([+-]\d+)?")
Atoms = Int[Tensor, "batch atom"]


class Speaker(NamedTuple):
    """What writes a slot: the variable that stands there, and where that is."""

    variable: Variable
    place: Place


class Atom(NamedTuple):
    """A stretch of an input's tokens: fixed ones, or those of a speaker's word."""

    tokens: Spelled
    speaker: int
    """-1 for fixed ones."""
    slot: str
    role: str


@dataclass(frozen=True)
class Form:
    """A phrasing in which it is known what each slot picks."""

    phrasing: int
    variant: int
    atoms: tuple[Atom, ...]


class Layout(NamedTuple):
    """Where the atoms of inputs lie; atom -1 of a role is a position that an input lacks."""

    form: Positions
    strings: Atoms
    starts: Atoms
    lengths: Atoms


class Forms:
    """All phrasings in tokens. Raises `UserError` where the tokenizer does not cut them at the slots."""

    def __init__(self, space: Space, vocabulary: Vocabulary, speller: Speller) -> None:
        self.space, self.vocabulary, self.speller = space, vocabulary, speller
        self.speakers: list[Speaker] = []
        self.strings: dict[Spelled, int] = {(): 0}
        self.bad: dict[str, dict[str, str]] = {}
        declared = space.declared
        self.forms: list[Form] = []
        self.form_of = torch.full((len(declared.phrasings), len(space.variants)), -1)
        for number, phrasing in enumerate(declared.phrasings):
            lacking = [name for name in space.choosers if not space.uses[number, space.index[name]]]
            parts = list(segments(phrasing))
            cut = self._cut(parts)
            for index, variant in enumerate(space.variants):
                if any(variant[name] for name in lacking):
                    continue
                self.form_of[number, index] = len(self.forms)
                self.forms.append(Form(number, index, self._atoms(parts, cut, variant)))
        said = [self._said(speaker) for speaker in self.speakers]
        self.surfaces = [torch.tensor([self._string(ids) for ids in words]) for words in said]
        most = max(len(form.atoms) for form in self.forms)
        padded = [[*form.atoms, *[Atom((), -1, "", "")] * (most - len(form.atoms))] for form in self.forms]
        self.end_string = self._string((vocabulary.end,))
        """The end token, which stands behind every input."""
        self._fixed = torch.tensor([[self._string(atom.tokens) for atom in atoms] for atoms in padded])
        self._speaker = torch.tensor([[atom.speaker for atom in atoms] for atoms in padded])
        self._spelled = list(self.strings)
        self.length = torch.tensor([len(ids) for ids in self.strings])
        self._offset = self.length.cumsum(0) - self.length
        self._tokens = torch.tensor([token for ids in self.strings for token in ids])
        self.max_length = max(self._longest(form) for form in self.forms) + 2

    # From words to tokens

    def spelled(self, string: int) -> Spelled:
        """The tokens of a string."""
        return self._spelled[string]

    @cached_property
    def padded_strings(self) -> Int[Tensor, "string pos"]:
        """The tokens of every string, filled up with -1."""
        width = int(self.length.max())
        return torch.tensor([[*ids, *[-1] * (width - len(ids))] for ids in self.strings])

    @cached_property
    def used(self) -> Int[Tensor, " token"]:
        """All tokens that stand in some input, with those at its ends, sorted."""
        ends = [self.vocabulary.begin, self.vocabulary.end, self.vocabulary.pad]
        used: Tensor = torch.unique(torch.cat([self._tokens, torch.tensor(ends)]))
        return used

    def longest(self, speaker: int) -> int:
        """Most tokens of a speaker's words."""
        return int(self.length[self.surfaces[speaker]].max())

    def _string(self, ids: Spelled) -> int:
        return self.strings.setdefault(ids, len(self.strings))

    def _said(self, speaker: Speaker) -> list[Spelled]:
        spelled = self.speller.spell(speaker.place, self.space.words(speaker.variable))
        return [ids or () for ids in spelled]

    def _base(self, slot: str, number: int) -> str:
        words = self.space.words(self.space.variable(slot, self.space.variants[0]))
        return words[number % len(words)]

    def _cut(self, parts: Sequence[Segment]) -> list[Spelled]:
        """The tokens of each part, with some words at the slots."""
        for number in range(_TRIED):
            texts = [part.text + (self._base(part.slot, number) if part.slot else "") for part in parts]
            so_far = ["".join(texts[: i + 1]) for i in range(len(texts))]
            ids = [[], *self.vocabulary.all_ids(so_far)]
            if all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(ids)):
                if self.vocabulary.special.intersection(ids[-1]):
                    raise UserError(f"the tokenizer does not know all words of {so_far[-1]!r}")
                return [tuple(longer[len(shorter) :]) for shorter, longer in pairwise(ids)]
        raise UserError(
            f"the tokenizer does not cut {so_far[-1]!r} at its slots: put spaces or other words around them"
        )

    def _atoms(self, parts: Sequence[Segment], cut: Sequence[Spelled], variant: Mapping[str, int]) -> tuple[Atom, ...]:
        atoms = []
        for part, ids in zip(parts, cut, strict=True):
            if not part.slot:
                atoms.append(Atom(ids, -1, "", part.role))
                continue
            speaker = Speaker(self.space.variable(part.slot, variant), Place(part.before, part.text))
            if speaker not in self.speakers:
                self.speakers.append(speaker)
            atoms.append(Atom((), self.speakers.index(speaker), part.slot, ""))
        return tuple(atoms)

    def _longest(self, form: Form) -> int:
        total = sum(len(atom.tokens) for atom in form.atoms)
        spoken: dict[int, Tensor] = {}
        for atom in form.atoms:
            if atom.speaker >= 0:
                variable = self.speakers[atom.speaker].variable
                lengths = self.length[self.surfaces[atom.speaker]]
                component = self.space.components[variable.component]
                if isinstance(component, Joint):
                    lengths = lengths[component.columns[variable.column].codes]
                    lengths = lengths[self.rows_of(form.phrasing, variable.component)]
                spoken[variable.component] = spoken.get(variable.component, 0) + lengths
        return total + sum(int(lengths.max()) for lengths in spoken.values())

    def rows_of(self, phrasing: int, component: int) -> Int[Tensor, " row"]:
        """The joint values of a component for which a phrasing holds."""
        space = self.space
        if component != space.leading:
            return torch.arange(space.components[component].size)
        return space.head_code[(space.head_phrasing == phrasing) & (space.head_code >= 0)]

    # From choices to rows of tokens

    def layout(self, choices: Choices) -> Layout:
        """Which strings each input is made of, and where they stand."""
        form = self.form_of[choices.phrasing, self.space.variant(choices)]
        said = torch.zeros(len(form), len(self.speakers), dtype=torch.long)
        for number, (speaker, surface) in enumerate(zip(self.speakers, self.surfaces, strict=True)):
            said[:, number] = surface[self.space.code(speaker.variable, choices).clamp_min(0)]
        by = self._speaker[form]
        strings = torch.where(by >= 0, said.gather(1, by.clamp_min(0)), self._fixed[form])
        lengths = self.length[strings]
        return Layout(form, strings, lengths.cumsum(1) - lengths + 1, lengths)

    def write(self, choices: Choices) -> Tokens:
        """Tokens [batch, pos] of these inputs."""
        layout = self.layout(choices)
        rows = torch.full((len(layout.form), self.max_length), self.vocabulary.pad)
        rows[:, 0] = self.vocabulary.begin
        ends = layout.starts[:, -1] + layout.lengths[:, -1]
        rows.scatter_(1, ends[:, None], self.vocabulary.end)
        lengths = layout.lengths.flatten()
        atom = torch.arange(len(lengths)).repeat_interleave(lengths)
        within = torch.arange(len(atom)) - (lengths.cumsum(0) - lengths)[atom]
        row = atom // layout.strings.shape[1]
        rows[row, layout.starts.flatten()[atom] + within] = self._tokens[
            self._offset[layout.strings.flatten()[atom]] + within
        ]
        return rows

    def texts(self, choices: Choices) -> list[str]:
        """The same inputs in words, with no tokenizer in between."""
        space, texts = self.space, [""] * len(choices.phrasing)
        forms = self.form_of[choices.phrasing, space.variant(choices)]
        for number in torch.unique(forms).tolist():
            form, rows = self.forms[number], (forms == number).nonzero()[:, 0]
            said = [[""] * len(rows)]
            for piece in space.declared.phrasings[form.phrasing].pieces:
                if not piece.slot:
                    said.append([piece.text] * len(rows))
                    continue
                variable = space.variable(piece.slot, space.variants[form.variant])
                words = space.words(variable)
                said.append([words[code] for code in space.code(variable, choices.at(rows)).tolist()])
            for row, parts in zip(rows.tolist(), zip(*said, strict=True), strict=True):
                texts[row] = "".join(parts)
        return texts

    # Positions

    def positions(self, roles: Sequence[Sequence[tuple[int, str, int]]], layout: Layout) -> list[Positions]:
        """Position of each role, given for each form as atom, `first` or `last` token, and steps to the right."""
        found = []
        for role in roles:
            atom, is_last, shift = (
                torch.tensor(part) for part in zip(*((a, end == "last", s) for a, end, s in role), strict=True)
            )
            at = atom[layout.form]
            start = layout.starts.gather(1, at.clamp_min(0)[:, None])[:, 0]
            last = layout.lengths.gather(1, at.clamp_min(0)[:, None])[:, 0] - 1
            position = start + last * is_last[layout.form] + shift[layout.form]
            found.append(torch.where(at >= 0, position, -1))
        return found

    def answer(self, layout: Layout, width: int) -> PositionMask:
        """Positions of the answer's tokens."""
        atom = self.answers[layout.form][:, None]
        start, length = (part.gather(1, atom) for part in (layout.starts, layout.lengths))
        place = torch.arange(width)
        return (place >= start) & (place < start + length)

    @cached_property
    def answers(self) -> Int[Tensor, " form"]:
        """Which atom is the answer."""
        slot = self.space.declared.answer
        return torch.tensor([max(i for i, atom in enumerate(f.atoms) if atom.slot == slot) for f in self.forms])


def find_atom(form: Form, name: str) -> int:
    """The atom of a slot (`A`, or `A.2` for the second time it stands there) or of a named word; -1 without it."""
    slot, dot, number = name.rpartition(".")
    if dot and number.isdecimal():
        name, which = slot, int(number)
    else:
        which = 1
    atoms = [i for i, atom in enumerate(form.atoms) if name in (atom.slot, atom.role) and name]
    return atoms[which - 1] if len(atoms) >= which else -1


def parse_position(text: str) -> tuple[str, str, int]:
    """A name, `first` or `last` token of what it names, and steps to the right: of `A`, `A.first`, `A+1`."""
    matched = _POSITION.fullmatch(text)
    assert matched is not None
    return matched[1], "first" if matched[2] else "last", int(matched[3] or 0)


def check_cut(forms: Forms) -> tuple[str, str] | None:
    """A slot and a word at it that the tokenizer does not cut from what stands around it, in some phrasing; or None.

    Every phrasing is tried, and every word of a slot between all pieces that it stands between somewhere.
    """
    space = forms.space
    tried: set[_Between] = set()
    for form in forms.forms:
        if space.variants[form.variant] != space.variants[0]:
            continue
        parts = list(segments(space.declared.phrasings[form.phrasing]))
        for slot, word in _misfits(forms, form, parts, tried):
            return slot, word
    return None


class _Between(NamedTuple):
    """A slot with what stands next to it."""

    speaker: int
    phrasing: int
    """-1 where all phrasings have the same words there."""
    before: Segment | None
    behind: str
    """Up to the end of the next word, or what slot it is."""


def _between(forms: Forms, form: Form, parts: Sequence[Segment], number: int) -> _Between:
    speaker = form.atoms[number].speaker
    has_own_words = forms.speakers[speaker].variable.component == forms.space.leading
    behind = "" if number + 1 == len(parts) else parts[number + 1].text
    if number + 1 < len(parts) and parts[number + 1].slot:
        behind += f"{{{parts[number + 1].slot}}}"
    return _Between(
        speaker, form.phrasing if has_own_words else -1, parts[number - 1] if number else None,
        behind[:1] + behind[1:].partition(" ")[0],
    )  # fmt: skip


def _misfits(forms: Forms, form: Form, parts: Sequence[Segment], tried: set[_Between]) -> list[tuple[str, str]]:
    """Every word at every slot, several slots at a time; where a text is cut otherwise, which slot it is.

    Of words that were `tried` between the same pieces only the first few.
    """
    space = forms.space
    options = [_options(forms, form, atom) for atom in form.atoms]
    slots = {k: _between(forms, form, parts, k) for k, (words, _) in enumerate(options) if words}
    many = max((min(len(options[k][0]), _TRIED) if at in tried else len(options[k][0]) for k, at in slots.items()),
               default=1)  # fmt: skip
    tried.update(slots.values())
    wanted, texts = [], []
    for i in range(many):
        row = [(words[i % len(words)], ids[i % len(words)]) if words else ("", ids[0]) for words, ids in options]
        texts.append("".join(part.text + word for part, (word, _) in zip(parts, row, strict=True)))
        wanted.append([token for _, ids in row for token in ids])
    got = forms.vocabulary.all_ids(texts)
    for i, (text, ids, right) in enumerate(zip(texts, got, wanted, strict=True)):
        if ids == right:
            continue
        for k, (words, spelled) in enumerate(options):
            if not words:
                continue
            base = [(w[0], s[0]) if w else ("", s[0]) for w, s in options]
            base[k] = (words[i % len(words)], spelled[i % len(words)])
            one = "".join(part.text + word for part, (word, _) in zip(parts, base, strict=True))
            if forms.vocabulary.ids(one) != [token for _, own in base for token in own]:
                return [(form.atoms[k].slot, base[k][0])]
        phrase = space.declared.phrasings[form.phrasing].text
        raise space.declared.error("phrasings", f"the tokenizer does not cut {text!r} at the slots of {phrase!r}")
    return []


def _options(forms: Forms, form: Form, atom: Atom) -> tuple[list[str], list[Spelled]]:
    """The words that an atom can be, and their tokens; no words for fixed ones."""
    if atom.speaker < 0:
        return [], [atom.tokens]
    variable = forms.speakers[atom.speaker].variable
    words = list(forms.space.words(variable))
    spelled = [forms.spelled(string) for string in forms.surfaces[atom.speaker].tolist()]
    component = forms.space.components[variable.component]
    if isinstance(component, Single):
        return words, spelled
    codes = component.columns[variable.column].codes[forms.rows_of(form.phrasing, variable.component)].tolist()
    return [words[code] for code in codes], [spelled[code] for code in codes]
