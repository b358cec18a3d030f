"""From rows of tokens back to choices, and what can come next: one walk along all phrasings at once.

Forms that begin alike are one path in a tree of atoms. The front of the walk is pairs of a row and an atom that is to
stand next in it; atom after atom go on only the pairs of which it does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.shapes import InputMask, NextTokens, Positions, Tokens
from inversionview.tasks.template.choices import Choices, Joint, Single, Space
from inversionview.tasks.template.forms import Form, Forms
from inversionview.tasks.template.sequences import SequenceTree

_PAIRS = 2_000_000
"""Pairs of a row and an atom that are looked at together."""
_NONE = -1


class _Atoms(NamedTuple):
    """The tree of atoms, by number."""

    string: Positions
    """Of fixed words; -1 for a slot."""
    speaker: Positions
    component: Positions
    root: Positions
    """Of a joint slot where its tree begins; -1 for others."""
    form: Positions
    """At the end of one its number, else -1."""
    start: Positions
    """Where its children begin among `children`; one entry more than atoms."""
    children: Int[Tensor, " edge"]


class _Front(NamedTuple):
    """Pairs of a row and an atom: where the row's next token stands, and what each component said so far.

    Of single components that is a code, of joint ones a node of their tree, of both -1 for nothing.
    """

    row: Positions
    atom: Positions
    at: Positions
    said: Int[Tensor, "pair component"]

    def only(self, kept: Tensor) -> _Front:
        """Some of the pairs: which they are, or for each of them whether it is one."""
        if kept.dtype == torch.bool:
            if bool(kept.all()):
                return self
            kept = kept.nonzero()[:, 0]
        return _Front(*(part.index_select(0, kept) for part in self))


class _Noted(NamedTuple):
    """What can come next at each position."""

    possible: NextTokens
    start: int
    """The first position of which it is asked."""

    def add(self, row: Positions, at: Positions, column: Positions) -> None:
        """The tokens of these columns can stand at these positions."""
        _, asked, columns = self.possible.shape
        place = at - 1 - self.start
        cell = (row * asked + place) * columns + column
        wanted = (place >= 0) & (place < asked)
        self.possible.view(-1)[cell if bool(wanted.all()) else cell[wanted]] = True


class Reader:
    """Reads rows of one template. Raises `UserError` where two choices give one text."""

    def __init__(self, space: Space, forms: Forms) -> None:
        self.space, self.forms, self.vocabulary = space, forms, forms.vocabulary
        self._words = _Words(forms)
        self._joints = _Joints(space, forms)
        self._atoms = self._planted()
        unlike = torch.zeros(len(space.components), len(space.components), dtype=torch.bool)
        for number, component in enumerate(space.components):
            if isinstance(component, Single):
                unlike[number, list(component.unlike)] = True
        self._unlike = unlike
        self._sizes = torch.tensor([component.size for component in space.components])
        self._codes = self._chosen()
        self._phrasings = torch.tensor([form.phrasing for form in forms.forms])
        string = self._atoms.string
        self._firsts = torch.where(string >= 0, forms.padded_strings[string.clamp_min(0), 0], _NONE)
        self._column = torch.full((self.vocabulary.size,), _NONE)
        self._column[forms.used] = torch.arange(len(forms.used))
        self._columns = torch.where(forms.padded_strings >= 0, self._column[forms.padded_strings], _NONE)
        _, self._kinds = torch.unique(torch.stack([self._atoms.speaker, self._atoms.root]), dim=1, return_inverse=True)
        self._matters = unlike | torch.eye(len(unlike), dtype=torch.bool)

    def read(self, tokens: Tokens) -> tuple[Choices, InputMask]:
        """What each row is made of, and which rows are inputs; the others have -1 everywhere."""
        row, parsed = self.parses(tokens)
        phrasing = torch.full((len(tokens),), _NONE)
        codes = torch.full((len(tokens), len(self.space.components)), _NONE)
        phrasing[row], codes[row] = parsed
        return Choices(phrasing, codes), phrasing >= 0

    def parses(self, tokens: Tokens) -> tuple[Int[Tensor, " parse"], Choices]:
        """Every way to read every row: the rows, by their number, and what each is made of then."""
        ends = [end._replace(row=start + end.row) for start, rows in self._blocks(tokens)
                for end in self._walk(rows, None)]  # fmt: skip
        if not ends:
            nothing = torch.zeros(0, dtype=torch.long)
            return nothing, Choices(nothing, torch.zeros(0, len(self.space.components), dtype=torch.long))
        end = _Front(*(torch.cat(parts) for parts in zip(*ends, strict=True)))
        form = self._atoms.form[end.atom]
        joint = self._joints.is_joint & (end.said >= 0)
        said = torch.where(joint, self._joints.row_at[end.said * joint], end.said)
        chosen = self._codes[form]
        return end.row, Choices(self._phrasings[form], torch.where(chosen >= 0, chosen, said))

    def next_tokens(self, tokens: Tokens, start: int = 0) -> NextTokens:
        """Tokens [batch, pos, used] with which what stands up to each position can go on; all where nothing can.

        Of positions from `start` on, and of the tokens that the forms use.
        """
        possible = torch.zeros(*tokens[:, start:].shape, len(self.forms.used), dtype=torch.bool)
        for first, rows in self._blocks(tokens):
            self._walk(rows, _Noted(possible[first : first + len(rows)], start))
        return possible.logical_or_(possible.sum(dim=2, keepdim=True) == 0)  # the sum takes a fifth of what any takes

    def _blocks(self, tokens: Tokens) -> list[tuple[int, Tokens]]:
        size = max(1, _PAIRS // int(self._atoms.start[1]))
        return [(start, tokens[start : start + size]) for start in range(0, len(tokens), size)]

    # The tree of atoms

    def _planted(self) -> _Atoms:
        """All forms as one tree; atom 0 is the begin token's place."""
        children: list[dict[Any, int]] = [{}]
        columns: list[tuple[int, int, int, int, int]] = [(_NONE,) * 5]
        end = self.forms.end_string
        for number, form in enumerate(self.forms.forms):
            here = 0
            for string, speaker, component, root in [*self._path(form), (end, _NONE, _NONE, _NONE)]:
                key = (string, speaker, root)
                if key not in children[here]:
                    children[here][key] = len(columns)
                    columns.append((string, speaker, component, root, _NONE))
                    children.append({})
                here = children[here][key]
            if columns[here][4] >= 0:
                texts = [self.space.declared.phrasings[one.phrasing].text
                         for one in (self.forms.forms[columns[here][4]], form)]  # fmt: skip
                raise self.space.declared.error(
                    "phrasings", f"two choices give one text: {texts[0]!r} and {texts[1]!r}"
                )
            columns[here] = (*columns[here][:4], number)
        counts = torch.tensor([0, *map(len, children)])
        edges = torch.tensor([child for some in children for child in some.values()])
        strings, speakers, components, roots, ends = torch.tensor(columns).unbind(1)
        return _Atoms(strings, speakers, components, roots, ends, counts.cumsum(0), edges)

    def _path(self, form: Form) -> list[tuple[int, int, int, int]]:
        path = []
        for atom in form.atoms:
            if atom.speaker < 0:
                path.append((self.forms.strings[atom.tokens], _NONE, _NONE, _NONE))
                continue
            component = self.forms.speakers[atom.speaker].variable.component
            path.append((_NONE, atom.speaker, component, self._joints.root_of(form, component)))
        return path

    def _chosen(self) -> Int[Tensor, "form component"]:
        """The codes that a form says by itself: what its slots are picked by."""
        codes = torch.full((len(self.forms.forms), len(self.space.components)), _NONE)
        for number, form in enumerate(self.forms.forms):
            for name, code in self.space.variants[form.variant].items():
                component = self.space.index[name]
                if self.space.uses[form.phrasing, component]:
                    codes[number, component] = code
        return codes

    # The walk

    def _walk(self, tokens: Tokens, noted: _Noted | None) -> list[_Front]:
        """The pairs of a row and the last atom that it comes to, padding behind; what can come next into `noted`."""
        row = (tokens[:, 0] == self.vocabulary.begin).nonzero()[:, 0]
        said = torch.full((len(row), len(self.space.components)), _NONE)
        front = _Front(row, torch.zeros_like(row), torch.ones_like(row), said)
        front = self._children(front, tokens, noted)
        ended = []
        while len(front.row):
            is_slot = self._atoms.speaker[front.atom] >= 0
            matched = [self._fixed(front.only(~is_slot), tokens, noted),
                       *self._slots(front.only(is_slot), tokens, noted)]  # fmt: skip
            front = _Front(*(torch.cat(parts) for parts in zip(*matched, strict=True)))
            at_end = self._atoms.form[front.atom] >= 0
            if bool(at_end.any()):
                ended.append(self._padded(front.only(at_end), tokens))
            front = self._children(front.only(~at_end), tokens, noted)
        return ended

    def _children(self, front: _Front, tokens: Tokens, noted: _Noted | None) -> _Front:
        """What can stand behind each atom: slots, and of fixed words only those that begin as what is there."""
        first = self._atoms.start[front.atom]
        pair, within = _counted(self._atoms.start[front.atom + 1] - first)
        atom = self._atoms.children[first[pair] + within]
        row, at, begins = front.row[pair], front.at[pair], self._firsts[atom]
        if noted is not None:
            fixed = (begins >= 0).nonzero()[:, 0]
            noted.add(row[fixed], at[fixed], self._column[begins[fixed]])
        there = at < tokens.shape[1]
        token = torch.where(there, tokens[row, at.clamp_max(tokens.shape[1] - 1)], _NONE)
        likely = ((begins == token) | (begins < 0)).nonzero()[:, 0]
        return front.only(pair[likely])._replace(atom=atom[likely])

    def _fixed(self, front: _Front, tokens: Tokens, noted: _Noted | None) -> _Front:
        """The pairs that have the fixed words there; the first of their tokens is there."""
        if not len(front.row):
            return front
        string = self._atoms.string[front.atom]
        length = self.forms.length[string]
        wanted = self.forms.padded_strings[string, : int(length.max())]
        same = (_there(tokens, front, wanted.shape[1]) == wanted) | (wanted < 0)
        if noted is not None:
            _note_later(noted, front, self._columns[string, : wanted.shape[1]], same)
        kept = same.all(dim=1)
        return front._replace(at=front.at + length).only(kept)

    def _slots(self, front: _Front, tokens: Tokens, noted: _Noted | None) -> list[_Front]:
        """The pairs that have a word there which can stand there, by its number of tokens."""
        if not len(front.row):
            return []
        if noted is not None:
            self._note_words(front, tokens, noted)
        speaker, found = self._atoms.speaker[front.atom], []
        node = self._words.roots[speaker]
        there = _there(tokens, front, int(self._words.longest[speaker].max()))
        for step, token in enumerate(there.unbind(1), start=1):
            node = self._words.tree.step(node, token)
            if not bool((node >= 0).any()):
                break
            code = torch.where(node >= 0, self._words.code_at[node.clamp_min(0)], _NONE)
            fits, said = self._said(front, code)
            if bool(fits.any()):
                found.append(_Front(front.row[fits], front.atom[fits], front.at[fits] + step, said[fits]))
        return found

    def _said(self, front: _Front, code: Positions) -> tuple[InputMask, Int[Tensor, "pair component"]]:
        """Which pairs can say this word, by what they said before, and what is said then."""
        component, root = self._atoms.component[front.atom], self._atoms.root[front.atom]
        before = front.said.gather(1, component[:, None])[:, 0]
        node = self._joints.tree.step(torch.where(before >= 0, before, root), code)
        apart = ~((front.said == code[:, None]) & self._unlike[component]).any(dim=1)
        single = torch.where(before >= 0, code == before, apart)
        fits = (code >= 0) & torch.where(root >= 0, node >= 0, single)
        return fits, front.said.scatter(1, component[:, None], torch.where(root >= 0, node, code)[:, None])

    def _padded(self, front: _Front, tokens: Tokens) -> _Front:
        """The pairs that have nothing but padding from their place on."""
        behind = torch.arange(tokens.shape[1]) >= front.at[:, None]
        return front.only(((tokens[front.row] == self.vocabulary.pad) | ~behind).all(dim=1))

    def _note_words(self, front: _Front, tokens: Tokens, noted: _Noted) -> None:
        """All words that can stand there, token by token; found once for all pairs that can have the same ones."""
        speaker = self._atoms.speaker[front.atom]
        front = front.only(front.at + self._words.longest[speaker] > noted.start + 1)
        if not len(front.row):
            return
        kind, one_of = self._alike(front)
        word_kind, code = self._words_there(front.only(one_of))
        string = self._words.strings[self._words.starts[self._atoms.speaker[front.atom[one_of[word_kind]]]] + code]
        first, many = self._columns[string, 0], len(self.forms.used)
        begins = torch.unique(word_kind * many + first)
        pair, found = _looked_up(begins // many, kind)
        noted.add(front.row[pair], front.at[pair], begins[found] % many)
        longer = (self.forms.length[string] > 1).nonzero()[:, 0]
        if len(longer):
            key, order = (word_kind * many + first)[longer].sort()
            there = self._column[_there(tokens, front, 1)[:, 0]]
            pair, found = _looked_up(key, torch.where(there >= 0, kind * many + there, _NONE))
            string = string[longer[order[found]]]
            wanted = self.forms.padded_strings[string]
            same = _there(tokens, front, wanted.shape[1])[pair] == wanted
            _note_later(noted, front.only(pair), self._columns[string], same)

    def _alike(self, front: _Front) -> tuple[Int[Tensor, " pair"], Int[Tensor, " kind"]]:
        """For each pair the number of its kind, of those that the same words can follow, and one pair of each kind."""
        kind = self._kinds[front.atom]
        matters = self._matters[self._atoms.component[front.atom]]
        for said in torch.where(matters, front.said, _NONE).unbind(1):
            most = int(said.max())
            if most >= 0:
                _, kind = torch.unique(kind * (most + 2) + said + 1, return_inverse=True)
        kinds, kind = torch.unique(kind, return_inverse=True)
        return kind, torch.zeros_like(kinds).scatter_(0, kind, torch.arange(len(kind)))

    def _words_there(self, front: _Front) -> tuple[Tensor, Tensor]:
        """Pairs of a pair of the front and the code of a word that can stand there."""
        component, root = self._atoms.component[front.atom], self._atoms.root[front.atom]
        before = front.said.gather(1, component[:, None])[:, 0]
        joint, again = root >= 0, (root < 0) & (before >= 0)
        fresh = ~joint & ~again
        of_joint, joint_code = self._joints.tree.children(torch.where(before >= 0, before, root)[joint])
        of_fresh, code = _counted(self._sizes[component[fresh]])
        taken = (front.said[fresh][of_fresh] == code[:, None]) & self._unlike[component[fresh][of_fresh]]
        free = ~taken.any(dim=1)
        numbers = [joint.nonzero()[:, 0][of_joint], again.nonzero()[:, 0], fresh.nonzero()[:, 0][of_fresh][free]]
        return torch.cat(numbers), torch.cat([joint_code, before[again], code[free]])


class _Words:
    """The words of every speaker in one tree, each below a node of its own."""

    def __init__(self, forms: Forms) -> None:
        counts = torch.tensor([len(surface) for surface in forms.surfaces])
        self.strings = torch.cat(forms.surfaces)
        self.starts = counts.cumsum(0) - counts
        speaker, code = _counted(counts)
        sequences = torch.cat([speaker[:, None], forms.padded_strings[self.strings]], dim=1)
        self.tree = SequenceTree(sequences)
        self.code_at = torch.where(self.tree.ends >= 0, code[self.tree.ends.clamp_min(0)], _NONE)
        self.roots = self.tree.step(torch.zeros(len(counts), dtype=torch.long), torch.arange(len(counts)))
        self.longest = torch.stack([forms.length[surface].max() for surface in forms.surfaces])


class _Joints:
    """The joint values of every component in one tree, in the order in which a form writes their columns."""

    def __init__(self, space: Space, forms: Forms) -> None:
        self.space, self.forms = space, forms
        self.is_joint = torch.tensor([isinstance(component, Joint) for component in space.components])
        self._numbers: dict[tuple[Any, ...], int] = {}
        blocks: list[Tensor] = []
        rows: list[Tensor] = []
        for form in forms.forms:
            for component in range(len(space.components)):
                key = self._key(form, component)
                if key is not None and key not in self._numbers:
                    self._numbers[key] = len(blocks)
                    rows.append(forms.rows_of(form.phrasing, component))
                    blocks.append(self._written(form, component, key[1], rows[-1]))
        width = max((block.shape[1] for block in blocks), default=0)
        padded = [torch.nn.functional.pad(block, (0, width - block.shape[1]), value=_NONE) for block in blocks]
        numbers = [torch.full((len(block), 1), number) for number, block in enumerate(blocks)]
        sequences = [torch.cat(pair, dim=1) for pair in zip(numbers, padded, strict=True)]
        self.tree = SequenceTree(torch.cat(sequences) if sequences else torch.zeros(0, 1, dtype=torch.long))
        row = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.long)
        self.row_at = torch.full((len(self.tree.ends),), _NONE)
        self.row_at[self.tree.leaf] = row
        self._roots = self.tree.step(torch.zeros(len(blocks), dtype=torch.long), torch.arange(len(blocks))).tolist()

    def root_of(self, form: Form, component: int) -> int:
        """Where the tree of a component begins in a form; -1 for a single one."""
        key = self._key(form, component)
        return _NONE if key is None else self._roots[self._numbers[key]]

    def _key(self, form: Form, component: int) -> tuple[Any, ...] | None:
        """What the tree depends on: the columns that are written, in order, and the joint values of the phrasing."""
        variables = [self.forms.speakers[atom.speaker].variable for atom in form.atoms if atom.speaker >= 0]
        columns = tuple(variable.column for variable in variables if variable.component == component)
        if not columns or isinstance(self.space.components[component], Single):
            return None
        return component, columns, form.phrasing if component == self.space.leading else _NONE

    def _written(self, form: Form, component: int, columns: tuple[str, ...], rows: Tensor) -> Tensor:
        joint = self.space.components[component]
        assert isinstance(joint, Joint)
        written = torch.stack([joint.columns[column].codes[rows] for column in columns], dim=1)
        _, group, count = torch.unique(written, dim=0, return_inverse=True, return_counts=True)
        if bool((count > 1).any()):
            row = int(rows[int((count[group] > 1).nonzero()[0, 0])])
            said = ", ".join(joint.columns[name].words[int(joint.columns[name].codes[row])] for name in columns)
            declared = self.space.declared
            raise declared.error(
                f"slots.{joint.bases[0]}", f"two choices give one text: {said!r} in "
                f"{declared.phrasings[form.phrasing].text!r} can be made in two ways; write what tells them apart"
            )  # fmt: skip
        return written


def _counted(counts: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each entry as often as its count, and which time it is."""
    entry = torch.arange(len(counts)).repeat_interleave(counts)
    return entry, torch.arange(len(entry)) - (counts.cumsum(0) - counts)[entry]


def _there(tokens: Tokens, front: _Front, many: int) -> Int[Tensor, "pair step"]:
    """The tokens at and behind each pair's place, -1 behind the row."""
    places = front.at[:, None] + torch.arange(many)
    found = tokens[front.row[:, None], places.clamp_max(tokens.shape[1] - 1)]
    return torch.where(places < tokens.shape[1], found, _NONE)


def _looked_up(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a number of `wanted` and one of the sorted `keys` that is equal to it."""
    first = torch.searchsorted(keys, wanted)
    number, within = _counted(torch.searchsorted(keys, wanted, right=True) - first)
    return number, first[number] + within


def _note_later(noted: _Noted, front: _Front, columns: Tensor, same: Tensor) -> None:
    """These tokens after the first can come one after the other, as long as those before them are there, by `same`."""
    reached = torch.ones(len(front.row), dtype=torch.bool)
    for step in range(1, columns.shape[1]):
        reached = reached & same[:, step - 1]
        here = (reached & (columns[:, step] >= 0)).nonzero()[:, 0]
        noted.add(front.row[here], front.at[here] + step, columns[here, step])
