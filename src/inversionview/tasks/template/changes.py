"""Other inputs like one: some of its choices drawn anew, the least change, small edits, and all that share a part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import Positions
from inversionview.tasks.template.aspects import Aspect
from inversionview.tasks.template.choices import Choices, Joint, Single, Space, shifted
from inversionview.tasks.template.file import PHRASING

ALL_BUT = "all-but:"
MOST_GIVEN = 2_000_000


def redrawn(space: Space, name: str, choices: Choices, generator: torch.Generator) -> Choices:
    """With the choices that a slot, the phrasing or a part of it is made of drawn anew, and all others kept."""
    declared = space.declared
    if name == PHRASING or name in declared.parts:
        others = [i for i, part in enumerate(declared.parts) if name not in (PHRASING, part)]
        same = [tuple(phrasing.parts[i] for i in others) for phrasing in declared.phrasings]
        key = torch.tensor([same.index(one) for one in same])
        return _other_head(space, choices, generator, key, torch.zeros(0, 1, dtype=torch.long))
    for number in space.components_of(name):
        component = space.components[number]
        bases = space.bases_of(name) & set(component.bases)
        choices = _redrawn_component(space, choices, generator, number, bases)
    return choices


def redrawn_but(space: Space, kept: Sequence[str], choices: Choices, generator: torch.Generator) -> Choices:
    """With another phrasing and other values of the slots that tell where it holds, but for those that are kept."""
    declared = space.declared
    parts = [i for i, part in enumerate(declared.parts) if part in kept]
    same = [(one.text if PHRASING in kept else "", *(one.parts[i] for i in parts)) for one in declared.phrasings]
    component = space.components[space.leading or 0]
    assert isinstance(component, Joint)
    columns = [component.columns[name].codes for name in kept if name in component.columns]
    groups = torch.unique(torch.stack(columns, 1), dim=0, return_inverse=True)[1] if columns else _zeros(component)
    return _other_head(space, choices, generator, torch.tensor([same.index(one) for one in same]), groups[:, None])


def check_kept(space: Space, key: str, kept: Sequence[str]) -> None:
    """Raise `UserError` for slots that no condition of a phrasing has to do with."""
    component = None if space.leading is None else space.components[space.leading]
    known = [PHRASING, *space.declared.parts, *(component.columns if isinstance(component, Joint) else ())]
    if component is None:
        raise space.declared.error(key, "keep is for phrasings with a condition, when, and there is none")
    if unknown := [name for name in kept if name not in known]:
        raise space.declared.error(key, f"{unknown[0]!r} cannot be kept here; what can is {', '.join(known)}")


def _redrawn_component(
    space: Space, choices: Choices, generator: torch.Generator, number: int, bases: frozenset[str]
) -> Choices:
    component = space.components[number]
    if isinstance(component, Single):
        return choices.replaced(number, _other_value(component, choices, generator, number))
    kept = [i for i, base in enumerate(component.bases) if base not in bases]
    groups = torch.unique(component.rows[:, kept], dim=0, return_inverse=True)[1] if kept else _zeros(component)
    if number == space.leading:
        return _other_head(space, choices, generator, torch.arange(len(space.declared.phrasings)), groups[:, None])
    code = choices.codes[:, number]
    drawn = one_of_the_same(groups, groups[code.clamp_min(0)], generator)
    return choices.replaced(number, torch.where(code >= 0, drawn, code))


def _zeros(component: Joint) -> Tensor:
    return torch.zeros(component.size, dtype=torch.long)


def _other_value(component: Single, choices: Choices, generator: torch.Generator, number: int) -> Positions:
    """Any value that none of those that must differ has."""
    code = choices.codes[:, number]
    taken = choices.codes[:, list(component.unlike)].sort(dim=1).values
    if taken.shape[1] > 1:  # the same value twice is in the way once
        taken[:, 1:] = torch.where(taken[:, 1:] == taken[:, :-1], -1, taken[:, 1:])
    left = component.size - (taken >= 0).sum(dim=1)
    if len(left) and bool((left == left[0]).all()):
        index = torch.randint(int(left[0]), (len(code),), generator=generator)
    else:
        index = (torch.rand(len(code), generator=generator) * left).long()
    return torch.where(code >= 0, shifted(index, taken), code)


def _other_head(
    space: Space, choices: Choices, generator: torch.Generator, phrasings: Tensor, groups: Int[Tensor, "row part"]
) -> Choices:
    """Another leading choice of the same group of phrasings and joint values, both given as the number of a group.

    With no groups of joint values, they stay as they are. Only phrasings with the same slots are in one group.
    """
    uses = torch.unique(space.uses, dim=0, return_inverse=True)[1]
    code = space.head_code
    of_code = (code if not len(groups) else groups[code.clamp_min(0), 0]) + 1
    head_groups = (of_code * (int(phrasings.max()) + 1) + phrasings[space.head_phrasing]) * (int(uses.max()) + 1)
    head_groups = torch.unique(head_groups + uses[space.head_phrasing], return_inverse=True)[1]
    head = one_of_the_same(head_groups, head_groups[space.head_of(choices).clamp_min(0)], generator)
    changed = Choices(space.head_phrasing[head], choices.codes)
    return changed if space.leading is None else changed.replaced(space.leading, code[head])


def flipped(space: Space, choices: Choices, flip: Mapping[str, Sequence[str]]) -> Choices:
    """Two slots with each other's values (`swap`), and slots of two values with the other one (`other`)."""
    codes = choices.codes.clone()
    if swap := flip.get("swap"):
        one, two = (space.index[name] for name in swap)
        codes[:, [one, two]] = codes[:, [two, one]]
    result = Choices(choices.phrasing, codes)
    for name in flip.get("other", ()):
        number = space.index[name]
        component = space.components[number]
        if isinstance(component, Single):
            result = result.replaced(number, 1 - result.codes[:, number])
            continue
        at = component.bases.index(name)
        mirrored = component.rows.clone()
        mirrored[:, at] = 1 - mirrored[:, at]
        both = torch.unique(torch.cat([component.rows, mirrored]), dim=0, return_inverse=True)[1]
        here, wanted = both[: component.size], both[component.size :]
        order = here.argsort()
        found = torch.searchsorted(here[order], wanted).clamp_max(component.size - 1)
        target = torch.where(here[order][found] == wanted, order[found], torch.arange(component.size))
        result = result.replaced(number, target[result.codes[:, number]])
    return result


def check_flip(space: Space, flip: Mapping[str, Sequence[str]]) -> None:
    """Raise `UserError` for a flip that cannot be."""
    swap = flip.get("swap", ())
    singles = [space.components[space.index[name]] for name in swap if name in space.index]
    if swap and (len(swap) != 2 or len(singles) != 2 or not all(isinstance(one, Single) for one in singles)
                 or singles[0].words != singles[1].words):  # type: ignore[union-attr]  # fmt: skip
        raise space.declared.error("flip.swap", "it names two slots of one list, which nothing else depends on")
    for name in flip.get("other", ()):
        if name not in space.index or space.size_of(name) != 2:
            raise space.declared.error("flip.other", f"{name} is no choice between two values")


def one_of_the_same(groups: Int[Tensor, " input"], of: Positions, generator: torch.Generator) -> Positions:
    """For each group of `of` a random one of its members."""
    order = groups.argsort(stable=True)
    count = torch.bincount(groups)
    start = count.cumsum(0) - count
    offset = (torch.rand(len(of), generator=generator) * count[of]).long()
    return order[start[of] + offset]


class Kept(NamedTuple):
    """What inputs share with one: choices (codes of slots), and values of slots, parts or the phrasing."""

    choices: tuple[str, ...]
    values: tuple[str, ...]


def kept_by(space: Space, spec: str, known: Sequence[str]) -> Kept:
    """What `A,B` or `all-but:A,B` keeps. Raises `UserError` for what is none of those known."""
    inverted, declared = spec.startswith(ALL_BUT), space.declared
    names = [name.strip() for name in spec.removeprefix(ALL_BUT).split(",") if name.strip()]
    if unknown := [name for name in names if name not in known] or [spec] * (not names):
        raise UserError(
            f"{declared.name} has no {unknown[0]!r} to be given: name what inputs share, of {', '.join(known)}, "
            f"or what they need not share, as in {ALL_BUT}{known[0]}"
        )
    if not inverted:
        bases = [name for name in names if name in space.bases and declared.slots[name].kind != "one_of"]
        return Kept(tuple(bases), tuple(name for name in names if name not in bases))
    free = {base for name in names if name in declared.slots for base in space.bases_of(name)}
    parts = [part for part in (declared.parts or (PHRASING,)) if part not in names and PHRASING not in names]
    return Kept(tuple(base for base in space.bases if base not in free), tuple(parts))


def sharing(space: Space, one: Choices, kept: Kept, aspects: Mapping[str, Aspect]) -> Iterator[Choices]:
    """All inputs that have what is kept in common with this one, in blocks. Raises `UserError` for too many."""
    heads = torch.ones(len(space.head_phrasing), dtype=torch.bool)
    whole = Choices(space.head_phrasing, one.codes.expand(len(space.head_phrasing), -1))
    for name in kept.values:
        if name in (PHRASING, *space.declared.parts):
            heads &= aspects[name].code(whole) == aspects[name].code(one)
    for name in kept.choices:
        lacks = int(one.codes[0, space.index[name]]) < 0
        heads &= space.uses[space.head_phrasing, space.index[name]] != lacks
    options = [_options(space, one, number, kept) for number in range(len(space.components))]
    if space.leading is not None:
        heads &= torch.isin(space.head_code, options[space.leading]) | (space.head_code < 0)
    count = sum(
        math.prod(len(some) if used else 1 for number, (some, used) in enumerate(zip(options, uses, strict=True))
                  if number != space.leading)
        for uses in space.uses[space.head_phrasing[heads]].tolist()
    )  # fmt: skip
    if count > MOST_GIVEN:
        raise UserError(f"{count:,} inputs may share that, and at most {MOST_GIVEN:,} are listed: keep more of them")
    for head in heads.nonzero()[:, 0].tolist():
        uses = space.uses[int(space.head_phrasing[head])].tolist()
        lists = [
            space.head_code[head : head + 1] if number == space.leading else some if used else torch.tensor([-1])
            for number, (some, used) in enumerate(zip(options, uses, strict=True))
        ]
        codes = torch.cartesian_prod(*lists).view(-1, len(lists))
        made = Choices(space.head_phrasing[head].expand(len(codes)), codes)
        same = space.allowed(made)
        for name in kept.values:
            same &= aspects[name].code(made) == aspects[name].code(one)
        yield made.at(same.nonzero()[:, 0])


def _options(space: Space, one: Choices, number: int, kept: Kept) -> Tensor:
    """The codes of a component with which an input can have in common what is kept, as far as that tells by itself."""
    component, code = space.components[number], int(one.codes[0, number])
    if isinstance(component, Single):
        return torch.tensor([code]) if component.base in kept.choices and code >= 0 else torch.arange(component.size)
    fits = torch.ones(component.size, dtype=torch.bool)
    for name in (*kept.choices, *kept.values):
        if code >= 0 and name in component.columns:
            codes = component.columns[name].codes
            fits &= codes == codes[code]
    return fits.nonzero()[:, 0]
