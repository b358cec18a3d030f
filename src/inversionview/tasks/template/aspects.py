"""What can be told of an input by its choices: the value of a slot, the phrasing, a part of it, and what follows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from inversionview.errors import UserError
from inversionview.expressions import NONE, compile_expression
from inversionview.shapes import Positions
from inversionview.tasks.template.choices import Choices, Space
from inversionview.tasks.template.file import PHRASING

MOST_SETS = 800
"""Values of a feature that names several words at once; of more they are counted one by one too slowly."""
MOST_COMBINED = 2_000_000
NO = "none"


class Aspect(NamedTuple):
    """Something that each input has one value of, by code."""

    values: tuple[str, ...]
    code: Callable[[Choices], Positions]
    about: str = ""


def aspects_of(space: Space) -> dict[str, Aspect]:
    """The slots but rows of tables, the phrasing, and the parts that phrasings are made of."""
    declared = space.declared
    aspects = {name: of_slot(space, name) for name, slot in declared.slots.items() if slot.kind != "row"}
    plain = tuple(phrasing.plain for phrasing in declared.phrasings)
    whole = plain if len(set(plain)) == len(plain) else tuple(phrasing.text for phrasing in declared.phrasings)
    aspects[PHRASING] = Aspect(whole, lambda x: x.phrasing, "how it is said")
    for number, part in enumerate(declared.parts):
        texts = [phrasing.parts[number] for phrasing in declared.phrasings]
        values = tuple(dict.fromkeys(texts))
        codes = torch.tensor([values.index(text) for text in texts])
        aspects[part] = Aspect(values, _looked_up(codes), "a part of how it is said")
    return aspects


def of_slot(space: Space, name: str) -> Aspect:
    """What a slot, or a column of a row, says; `none` where a phrasing lacks it."""
    variables = [space.variable(name, variant) for variant in space.variants]
    words = [space.words(variable) for variable in variables]
    slot = space.declared.slots.get(name)
    values = tuple(dict.fromkeys(word for some in words for word in some))
    same = all(some == values for some in words)
    tables = [torch.tensor([values.index(word) for word in some]) for some in words] if not same else []
    needed = space.components_of(name)
    lacking = not bool(space.uses[:, list(needed)].all())

    def code(choices: Choices) -> Positions:
        codes = torch.full_like(choices.phrasing, -1)
        variant = space.variant(choices)
        for number, variable in enumerate(variables):
            of_variant = space.code(variable, choices)
            if not same:
                of_variant = torch.where(of_variant >= 0, tables[number][of_variant.clamp_min(0)], -1)
            codes = torch.where(variant == number, of_variant, codes)
        return torch.where(codes >= 0, codes, len(values)) if lacking else codes

    about = slot.about if slot is not None else ""
    return Aspect((*values, NO) if lacking else values, code, about or f"what stands for {name}")


def declared_aspect(space: Space, name: str, given: Any, aspects: Mapping[str, Aspect]) -> Aspect | None:
    """A feature that the file declares, of those there are; None where it has too many values to be one."""
    key = f"features.{name}"
    content = given if isinstance(given, dict) else {"is": given}
    if unknown := [one for one in content if one not in ("is", "set", "column", "about")]:
        raise space.declared.error(
            key, f"there is no key {unknown[0]!r}; the keys are is, set, column, position, about"
        )
    about = content.get("about", "")
    if "set" in content:
        return _set_of(space, key, content["set"], aspects, about)
    if "column" in content:
        row, _, column = str(content["column"]).partition(".")
        slot = space.declared.slots.get(row)
        if slot is None or slot.kind != "row" or column not in space.declared.tables[slot.table].columns:
            raise space.declared.error(key, f"there is no column {content['column']!r}: write ROW.COLUMN")
        return of_slot(space, f"{row}.{column}")._replace(about=about or f"{column} of {row}")
    text = content.get("is")
    if not isinstance(text, str):
        raise space.declared.error(key, f"a feature is true, false, an expression or {{set = [...]}}, not {text!r}")
    if text in aspects:
        return aspects[text]._replace(about=about or aspects[text].about)
    return _expression(space, key, text, aspects, about)


def _set_of(space: Space, key: str, names: Any, aspects: Mapping[str, Aspect], about: str) -> Aspect | None:
    """Which words several slots have, whichever has which."""
    names = checked_names(space, key, names, aspects)
    values = aspects[names[0]].values
    if any(aspects[name].values != values for name in names):
        raise space.declared.error(key, f"{' and '.join(names)} have not the same values")
    if math.comb(len(values), len(names)) > MOST_SETS:
        return None
    sets = list(itertools.combinations(range(len(values)), len(names)))
    numbers = torch.zeros(*[len(values)] * len(names), dtype=torch.long)
    for number, one in enumerate(sets):
        for order in itertools.permutations(one):
            numbers[order] = number

    def code(choices: Choices) -> Positions:
        return numbers[tuple(aspects[name].code(choices) for name in names)]

    return Aspect(
        tuple(", ".join(values[i] for i in one) for one in sets), code, about or f"which {' and '.join(names)}"
    )


def _expression(space: Space, key: str, text: str, aspects: Mapping[str, Aspect], about: str) -> Aspect:
    try:
        expression = compile_expression(text, {name: aspect.values for name, aspect in aspects.items()})
    except UserError as error:
        raise space.declared.error(key, str(error)) from error

    def evaluated(choices: Choices) -> Positions:
        result: Positions = expression({name: aspects[name].code(choices) for name in expression.features}).long()
        return result

    if expression.is_condition:
        return Aspect(("no", "yes"), evaluated, about or text)
    sizes = [len(aspects[name].values) for name in expression.features]
    if math.prod(sizes) > MOST_COMBINED:
        raise space.declared.error(key, f"{text!r} has too many values to be a feature")
    codes = torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes))
    results = torch.unique(expression(dict(zip(expression.features, codes.unbind(1), strict=True))))
    values = tuple(NO if result == NONE else str(result) for result in results.tolist())
    return Aspect(values, lambda x: torch.searchsorted(results, evaluated(x)), about or text)


def checked_names(space: Space, key: str, names: Any, known: Mapping[str, Any]) -> list[str]:
    """A list of names, all of which are known. Raises `UserError` for one that is not."""
    if not isinstance(names, list) or not names:
        raise space.declared.error(key, f"a list of names is needed, not {names!r}")
    if unknown := [name for name in names if name not in known]:
        raise space.declared.error(key, f"there is no {unknown[0]!r}; there are {', '.join(known)}")
    return names


def _looked_up(codes: Positions) -> Callable[[Choices], Positions]:
    return lambda choices: codes[choices.phrasing]
