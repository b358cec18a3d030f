"""What is chosen to make an input of a template, how many ways there are, and how they are numbered and drawn.

A phrasing, and one code for each component: a slot that is filled by itself (`Single`), or several that depend on each
other, whose joint values are listed (`Joint`). All inputs are equally probable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inversionview.expressions import Expression, compile_expression
from inversionview.shapes import Positions
from inversionview.tasks.template.file import Declared, Slot

MOST_JOINT = 2_000_000
"""Most combinations of slots that depend on each other."""
MOST_VARIANTS = 64
Codes = Int[Tensor, "batch component"]


class Choices(NamedTuple):
    """Inputs [batch] as what was chosen: a phrasing and the code of each component, -1 where the phrasing lacks it."""

    phrasing: Positions
    codes: Codes

    def at(self, rows: Tensor) -> Choices:
        """Those of some inputs."""
        return Choices(self.phrasing[rows], self.codes[rows])

    def replaced(self, component: int, codes: Positions) -> Choices:
        """With other codes of one component."""
        changed = self.codes.clone()
        changed[:, component] = codes
        return Choices(self.phrasing, changed)


class Column(NamedTuple):
    """A code for each joint value, and the words of these codes."""

    codes: Int[Tensor, " row"]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Single:
    """A slot that is filled by itself from a list; `unlike` are components whose values it must not have."""

    base: str
    words: tuple[str, ...]
    unlike: tuple[int, ...] = ()

    @property
    def bases(self) -> tuple[str, ...]:
        return (self.base,)

    @property
    def size(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Joint:
    """Slots that depend on each other: every combination that there is, and the columns that can be written."""

    bases: tuple[str, ...]
    rows: Int[Tensor, "row base"]
    columns: Mapping[str, Column]

    @property
    def size(self) -> int:
        return len(self.rows)


Component = Single | Joint


class Variable(NamedTuple):
    """What stands at a slot, once it is known what it picks: a component, and of a joint one the column."""

    component: int
    column: str = ""


class Space:
    """All inputs of a template as choices. Raises `UserError` for slots that cannot be filled, or too many inputs."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.bases = [name for name, slot in declared.slots.items() if slot.kind in ("values", "row", "one_of")]
        self.conditions = {
            **{name: self._compiled(f"slots.{name}", slot.where) for name, slot in declared.slots.items()},
            **{phrasing.when: self._compiled("phrasings, when", phrasing.when) for phrasing in declared.phrasings},
        }
        self.components = self._components(self._groups())
        self.index = {base: i for i, component in enumerate(self.components) for base in component.bases}
        self.choosers = tuple(slot.by for slot in declared.slots.values() if slot.by and not self._is_joint_pick(slot))
        self.choosers = tuple(dict.fromkeys(self.choosers))
        for name in self.choosers:
            if isinstance(self.components[self.index[name]], Joint):
                raise declared.error(f"slots.{name}", "slots are picked by it, so that it cannot be in a condition too")
        self.variants = [
            dict(zip(self.choosers, codes, strict=True))
            for codes in torch.cartesian_prod(*(torch.arange(self.size_of(name)) for name in self.choosers))
            .view(-1, len(self.choosers)).tolist()
        ] if self.choosers else [{}]  # fmt: skip
        if len(self.variants) > MOST_VARIANTS:
            raise declared.error("slots", f"{len(self.variants)} ways to pick are too many, at most {MOST_VARIANTS}")
        self._count()

    # What a slot is made of

    def bases_of(self, name: str) -> frozenset[str]:
        """The choices that a slot, or a column of a row, is made of."""
        row, dot, _ = name.partition(".")
        slot = self.declared.slots[row if dot else name]
        if dot or slot.kind in ("values", "row"):
            return frozenset((slot.name,))
        if slot.kind == "column":
            return frozenset((slot.column[0],))
        return frozenset((slot.by,)).union(*map(self.bases_of, slot.of))

    def components_of(self, name: str) -> tuple[int, ...]:
        """The components that a slot is made of, in order."""
        return tuple(sorted({self.index[base] for base in self.bases_of(name)}))

    def variable(self, name: str, variant: Mapping[str, int]) -> Variable:
        """What stands at a slot where so is chosen."""
        row, dot, _ = name.partition(".")
        slot = self.declared.slots[row]
        component = self.index[min(self.bases_of(name))]
        if not dot and slot.kind in ("one_of", "pick") and not self._is_joint_pick(slot):
            return self.variable(slot.of[variant[slot.by]], variant)
        if isinstance(self.components[component], Single):
            return Variable(component)
        return Variable(component, name)

    def words(self, variable: Variable) -> tuple[str, ...]:
        """What can stand there, by code."""
        component = self.components[variable.component]
        return component.words if isinstance(component, Single) else component.columns[variable.column].words

    def code(self, variable: Variable, choices: Choices) -> Positions:
        """Which of its words stands there in each input, -1 where it has none."""
        codes = choices.codes[:, variable.component]
        component = self.components[variable.component]
        if isinstance(component, Single):
            return codes
        return torch.where(codes >= 0, component.columns[variable.column].codes[codes.clamp_min(0)], -1)

    def variant(self, choices: Choices) -> Positions:
        """Which of `variants` each input is of; of choices that it lacks, the first."""
        number = torch.zeros_like(choices.phrasing)
        for name in self.choosers:
            number = number * self.size_of(name) + choices.codes[:, self.index[name]].clamp_min(0)
        return number

    def size_of(self, base: str) -> int:
        """How many values a choice has."""
        slot = self.declared.slots[base]
        if slot.kind == "row":
            return len(self.declared.tables[slot.table].rows)
        return len(slot.of) if slot.kind == "one_of" else len(_values(slot))

    def names_of(self, name: str) -> tuple[str, ...]:
        """The names of a slot's values as conditions compare them, whatever is left of them later."""
        row, dot, column = name.partition(".")
        slot = self.declared.slots[row]
        if dot or slot.kind == "column":
            table = self.declared.tables[self.declared.slots[row if dot else slot.column[0]].table]
            return tuple(dict.fromkeys(table.column(column if dot else slot.column[1])))
        if slot.kind == "row":
            return tuple(map(str, range(self.size_of(name))))
        if slot.kind == "one_of":
            return slot.of
        if slot.kind == "pick":
            return slot.texts or tuple(dict.fromkeys(word for one in slot.of for word in self.names_of(one)))
        return _values(slot)

    def _is_joint_pick(self, slot: Slot) -> bool:
        """Whether it picks among texts, or columns of one row, and so can be listed with what it picks by."""
        rows = {name.partition(".")[0] for name in slot.of if "." in name}
        return slot.kind == "pick" and (bool(slot.texts) or (len(rows) == 1 and all("." in name for name in slot.of)))

    # Which slots depend on each other

    def _compiled(self, key: str, text: str) -> Expression | None:
        if not text:
            return None
        if not isinstance(text, str):
            raise self.declared.error(key, f"a condition is a text, not {text!r}")
        with_names = {name: self.names_of(name) for name in self.declared.slots}
        try:
            compiled = compile_expression(text, with_names)
        except ValueError as error:  # a UserError is one
            raise self.declared.error(key, str(error)) from error
        if not compiled.is_condition:
            raise self.declared.error(key, f"{text!r} is no condition: compare it with something")
        return compiled

    def _groups(self) -> list[list[str]]:
        """The choices, in order, those that must be listed together in one list."""
        slots = self.declared.slots
        group: dict[str, set[str]] = {}

        def join(names: Iterable[str]) -> None:
            bases = sorted({base for name in names for base in self.bases_of(name)})
            merged = set(bases).union(*(group.get(base, set()) for base in bases))
            group.update(dict.fromkeys(merged, merged))

        for slot in slots.values():
            condition = self.conditions[slot.name]
            if slot.kind == "row" or condition is not None:
                join((slot.name, *(condition.features if condition else ())))
            if self._is_joint_pick(slot):
                join((slot.name,))
        whens = [self.conditions[phrasing.when] for phrasing in self.declared.phrasings if phrasing.when]
        join(name for when in whens if when is not None for name in when.features)
        for _ in slots:
            for slot in slots.values():
                for other in slot.unlike:
                    if not self._both_single(slot, slots[other], group):
                        join((slot.name, other))
        groups: list[list[str]] = []
        for base in self.bases:
            if base not in group:
                groups.append([base])
            elif base not in [one for made in groups for one in made]:
                groups.append([one for one in self.bases if one in group[base]])
        self._grouped = set(group)
        return groups

    @staticmethod
    def _both_single(one: Slot, other: Slot, group: Mapping[str, set[str]]) -> bool:
        return one.values is not None and one.values == other.values and not {one.name, other.name} & set(group)

    def _components(self, groups: Sequence[Sequence[str]]) -> list[Component]:
        where = {base: i for i, group in enumerate(groups) for base in group}
        components: list[Component] = []
        for number, group in enumerate(groups):
            if group[0] in self._grouped:
                components.append(self._joint(group))
                continue
            slot = self.declared.slots[group[0]]
            related = {where[name] for name in slot.unlike}
            related |= {where[other.name] for other in self.declared.slots.values() if slot.name in other.unlike}
            words = slot.of if slot.kind == "one_of" else _values(slot)
            components.append(Single(slot.name, words, tuple(sorted(related - {number}))))
            if len(words) <= len(related):
                what = f"it must differ from {len(related)} others, and {len(words)} values are left of {slot.name}"
                raise self.declared.error(f"slots.{slot.name}", f"{what}: give more")
        self._check_unlike(components)
        return components

    def _check_unlike(self, components: Sequence[Component]) -> None:
        """What must differ from two others needs these to differ too, or its number of values would not be one."""
        for number, component in enumerate(components):
            if not isinstance(component, Single):
                continue
            before = [i for i in component.unlike if i < number]
            for i in before:
                one = components[i]
                assert isinstance(one, Single)
                if apart := [j for j in before if j != i and j not in one.unlike]:
                    names = f"{one.base} and {components[apart[0]].bases[0]}"
                    raise self.declared.error(
                        f"slots.{component.base}", f"it must differ from {names}, which may be equal: let them differ"
                    )

    def _joint(self, bases: Sequence[str]) -> Joint:
        """Every combination that the conditions of these slots allow."""
        size = math.prod(map(self.size_of, bases))
        if size > MOST_JOINT:
            raise self.declared.error(
                f"slots.{bases[0]}", f"it depends on {', '.join(bases[1:])}: {size:,} combinations are too many to "
                f"list, at most {MOST_JOINT:,}"
            )  # fmt: skip
        numbers = torch.arange(size)
        values = []
        for base in reversed(bases):
            values.append(numbers % self.size_of(base))
            numbers = numbers // self.size_of(base)
        rows = torch.stack(values[::-1], dim=1)
        own = [name for name in self._writable() if self.bases_of(name) <= set(bases)]
        columns = {name: self._column(name, bases, rows) for name in own}
        kept = torch.ones(size, dtype=torch.bool)
        for name in own:
            slot = self.declared.slots.get(name)
            condition = self.conditions.get(name) if slot else None
            if slot and condition is not None:
                kept &= condition({used: self._named(used, columns[used]) for used in condition.features})
            for other in slot.unlike if slot else ():
                kept &= _differ(columns[name], columns[other])
        if not kept.any():
            raise self.declared.error(f"slots.{bases[-1]}", "no value is left that meets its conditions")
        columns = {name: Column(column.codes[kept], column.words) for name, column in columns.items()}
        return Joint(tuple(bases), rows[kept], columns)

    def _writable(self) -> list[str]:
        """All slots, and all columns of rows."""
        slots = self.declared.slots
        rows = [slot for slot in slots.values() if slot.kind == "row"]
        return [*slots, *(f"{row.name}.{column}" for row in rows for column in self.declared.tables[row.table].columns)]

    def _column(self, name: str, bases: Sequence[str], rows: Tensor) -> Column:
        """What a slot is in each of these combinations."""
        row, dot, column = name.partition(".")
        slot = self.declared.slots[row]
        if dot or slot.kind == "column":
            of, column = (row, column) if dot else slot.column
            texts = self.declared.tables[self.declared.slots[of].table].column(column)
            words = tuple(dict.fromkeys(texts))
            numbers = {word: number for number, word in enumerate(words)}
            return Column(torch.tensor([numbers[text] for text in texts])[rows[:, bases.index(of)]], words)
        if slot.kind != "pick":
            return Column(rows[:, bases.index(name)], self.names_of(name))
        by = rows[:, bases.index(slot.by)]
        options = [self._column(one, bases, rows) for one in slot.of] or [
            Column(torch.zeros_like(by), (text,)) for text in slot.texts
        ]
        words = tuple(dict.fromkeys(word for option in options for word in option.words))
        codes = torch.stack([torch.tensor([words.index(word) for word in one.words])[one.codes] for one in options])
        return Column(codes.gather(0, by[None])[0], words)

    def _named(self, name: str, column: Column) -> Tensor:
        """The column's codes among the names that conditions were compiled with."""
        names = {word: code for code, word in enumerate(self.names_of(name))}
        return torch.tensor([names[word] for word in column.words])[column.codes]

    # How many there are

    def _count(self) -> None:
        """The leading choices (phrasings, or phrasings with the joint values that they hold for) and what follows."""
        declared = self.declared
        whens = [self.conditions[phrasing.when] for phrasing in declared.phrasings]
        leading = {self.index[base] for when in whens if when for name in when.features for base in self.bases_of(name)}
        self.leading = leading.pop() if leading else None
        self.uses = torch.tensor([self._used(number) for number in range(len(declared.phrasings))])
        self.radices = [self._radices(number) for number in range(len(declared.phrasings))]
        self.head_phrasing, self.head_code = self._heads(whens)
        if not len(self.head_phrasing):
            raise declared.error("phrasings", "none holds for any value of the slots")
        counts = [math.prod(radices) for radices in self.radices]
        holds = torch.bincount(self.head_phrasing, minlength=len(counts)).tolist()
        self.total = sum(count * many for count, many in zip(counts, holds, strict=True))
        if self.total >= 2**63:
            raise declared.error("the file", f"it has {self.total:.1e} inputs, more than can be counted: at most 9e18")
        ends = torch.tensor(counts)[self.head_phrasing].cumsum(0)
        self._starts, self._ends = ends - torch.tensor(counts)[self.head_phrasing], ends
        self._alike = len({(*radices, *used) for radices, used in zip(self.radices, self.uses.tolist(), strict=True)
                           }) == 1 and (self.leading is None or bool((self.head_code >= 0).all()))  # fmt: skip
        self._radix = torch.tensor(self.radices).view(len(counts), len(self.components))

    def _used(self, phrasing: int) -> list[bool]:
        """Which components a phrasing writes, in any variant."""
        used = {i for name in self.declared.phrasings[phrasing].slots for i in self.components_of(name)}
        return [number in used for number in range(len(self.components))]

    def _radices(self, phrasing: int) -> list[int]:
        """How many values are left for each component, those before it being chosen."""
        used = self.uses[phrasing].tolist()
        radices = []
        for number, component in enumerate(self.components):
            related = component.unlike if isinstance(component, Single) else ()
            before = sum(used[i] for i in related if i < number)
            radices.append(component.size - before if used[number] and number != self.leading else 1)
        return radices

    def _heads(self, whens: Sequence[Expression | None]) -> tuple[Positions, Positions]:
        """The phrasings, and where some hold for some joint values only, the pairs of both."""
        numbers = torch.arange(len(whens))
        if self.leading is None:
            return numbers, torch.full_like(numbers, -1)
        component = self.components[self.leading]
        assert isinstance(component, Joint)
        named = {name: self._named(name, column) for name, column in component.columns.items() if "." not in name}
        holds = torch.stack(
            [torch.ones(component.size, dtype=torch.bool) if when is None else when(named) for when in whens], dim=1
        )
        written = self.uses[:, self.leading]
        pairs = (holds & written).nonzero()
        alone = (~written & holds.any(dim=0)).nonzero()[:, 0]
        return torch.cat([pairs[:, 1], alone]), torch.cat([pairs[:, 0], torch.full_like(alone, -1)])

    def draw(self, n: int, generator: torch.Generator) -> Choices:
        """`n` inputs, all equally probable, with replacement."""
        if not self._alike:
            return self.numbered(torch.randint(self.total, (n,), generator=generator))
        head = torch.randint(len(self.head_phrasing), (n,), generator=generator)
        parts = [
            head if number == self.leading else torch.randint(radix, (n,), generator=generator)
            for number, radix in enumerate(self.radices[0])
        ]
        return self._valued(head, parts)

    def spread(self, most: int, drawn: int) -> Choices:
        """All inputs, or where they are more than `most`, each phrasing with each value of its slots, and some drawn.

        At most `most` of these too, and then `drawn` more.
        """
        if self.total <= most:
            return self.numbered(torch.arange(self.total))
        made = []
        for phrasing, radices in enumerate(self.radices):
            heads = (self.head_phrasing == phrasing).nonzero()[:, 0]
            if len(heads):
                turn = torch.arange(max(len(heads), *radices))
                made.append(self._valued(heads[turn % len(heads)], [turn % radix for radix in radices]))
        generator = torch.Generator().manual_seed(0)
        listed = Choices(*(torch.cat(parts) for parts in zip(*made, strict=True)))
        listed = listed.at(torch.randperm(len(listed.phrasing), generator=generator)[:most])
        more = self.draw(drawn, generator)
        return Choices(*(torch.cat(parts) for parts in zip(listed, more, strict=True)))

    def numbered(self, numbers: Int[Tensor, " batch"]) -> Choices:
        """The inputs with these numbers, from 0 to `total`."""
        head = torch.searchsorted(self._ends, numbers, right=True)
        rest, radix = numbers - self._starts[head], self._radix[self.head_phrasing[head]]
        parts = []
        for number in reversed(range(len(self.components))):
            parts.append(rest % radix[:, number])
            rest = rest // radix[:, number]
        return self._valued(head, parts[::-1])

    def number_of(self, choices: Choices) -> Int[Tensor, " batch"]:
        """The numbers of these inputs, as `numbered` has them."""
        head = self.head_of(choices).clamp_min(0)
        radix, number = self._radix[self.head_phrasing[head]], torch.zeros_like(head)
        for index, component in enumerate(self.components):
            part = choices.codes[:, index].clamp_min(0) if index != self.leading else torch.zeros_like(head)
            if isinstance(component, Single):
                taken = choices.codes[:, [i for i in component.unlike if i < index]]
                part = part - ((taken >= 0) & (taken < part[:, None])).sum(dim=1)
            number = number * radix[:, index] + part
        return self._starts[head] + number

    def _valued(self, head: Positions, parts: Sequence[Positions]) -> Choices:
        """Choices whose parts were numbered among what is left for each."""
        phrasing = self.head_phrasing[head]
        used = self.uses[phrasing]
        codes = torch.full((len(head), len(self.components)), -1)
        for number, component in enumerate(self.components):
            value = self.head_code[head] if number == self.leading else parts[number]
            if isinstance(component, Single):
                value = shifted(value, codes[:, [i for i in component.unlike if i < number]])
            codes[:, number] = torch.where(used[:, number], value, -1)
        return Choices(phrasing, codes)

    def allowed(self, choices: Choices) -> Bool[Tensor, " batch"]:
        """Which of these are inputs: their phrasing holds for them, and what must differ does."""
        holds = torch.ones(len(choices.phrasing), dtype=torch.bool)
        for number, component in enumerate(self.components):
            for other in component.unlike if isinstance(component, Single) else ():
                one, two = choices.codes[:, number], choices.codes[:, other]
                holds &= (one != two) | (one < 0)
        return holds & (self.head_of(choices) >= 0)

    def head_of(self, choices: Choices) -> Positions:
        """The leading choice of each input, by its number; -1 where a phrasing does not hold for it."""
        code = torch.full_like(choices.phrasing, -1) if self.leading is None else choices.codes[:, self.leading]
        key = self._head_key(choices.phrasing, code)
        keys, order = self._head_keys
        at = torch.searchsorted(keys, key).clamp_max(len(keys) - 1)
        return torch.where(keys[at] == key, order[at], -1)

    def _head_key(self, phrasing: Positions, code: Positions) -> Positions:
        return (code + 1) * len(self.declared.phrasings) + phrasing

    @cached_property
    def _head_keys(self) -> tuple[Tensor, Tensor]:
        keys, order = self._head_key(self.head_phrasing, self.head_code).sort()
        return keys, order


def shifted(index: Positions, taken: Int[Tensor, "batch other"]) -> Positions:
    """The index-th of the codes that are not among those taken, which are distinct; -1 is none."""
    for other in taken.sort(dim=1).values.unbind(1):
        index = index + ((index >= other) & (other >= 0)).long()
    return index


def _values(slot: Slot) -> tuple[str, ...]:
    assert slot.values is not None
    return slot.values.values


def _differ(one: Column, other: Column) -> Bool[Tensor, " row"]:
    words = {word: number for number, word in enumerate(dict.fromkeys(one.words + other.words))}
    ids = [torch.tensor([words[word] for word in column.words])[column.codes] for column in (one, other)]
    return ids[0] != ids[1]
