"""What rules are made of: features, sums and differences of two, and whether two are equal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from inversionview.reading.information import codes_of
from inversionview.reading.items import simple_features
from inversionview.results.map import UNASKED
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Feature, Task

MOST_ADDED = 40
"""Values of a feature of which sums and differences are made, at most."""
_NUMBER = re.compile("-?[0-9]{1,9}")


class Quantity(NamedTuple):
    """Something of which each input has one value."""

    text: str
    """As it stands in an expression."""
    features: int
    """How many there are in it."""
    values: tuple[str, ...]
    """As they stand in an expression, by code; numbers ascend."""
    ordered: bool
    """Whether the values are numbers."""
    yes_no: bool
    """Whether it is a condition by itself, of the values no and yes."""
    codes: Int[np.ndarray, " row"]


def quantities(task: Task, tokens: Tokens, positions: Positions, role: str) -> list[Quantity]:
    """Those in which some inputs differ, at a position of each that plays a role; of several that part them alike, the
    shortest. Sums and differences are of features that are not made of others themselves.
    """
    features = _features(task)
    read = codes_of(features, tokens, positions) if features else np.empty((0, len(tokens)), np.int64)
    simple = [_of_feature(*both) for both in zip(features, read, strict=True)]
    numbers = [_numbers(*both) for both in zip(features, read, strict=True)]
    known: dict[bytes, Quantity] = {}
    plain = simple_features(task, role)
    added = [i for i, feature in enumerate(features) if feature.name in plain]
    every = [*simple, *_pairs([simple[i] for i in added], [numbers[i] for i in added])]
    for quantity in sorted(every, key=lambda one: ("`" in one.text, one.features)):
        values, codes = np.unique(quantity.codes, return_inverse=True)
        if len(values) > 1:
            compact = tuple(quantity.values[value] for value in values.tolist())
            known.setdefault(codes.tobytes(), quantity._replace(values=compact, codes=codes.reshape(-1)))
    return list(known.values())


def _features(task: Task) -> list[Feature]:
    """All but those that tell of how inputs are written down; in text the token itself is what there is to know."""
    named = any(not role.isdigit() for role in task.roles)
    left_out = set(UNASKED) if named else set(UNASKED) - {"token"}
    return [feature for name, feature in task.features.items() if name not in left_out]


def _name(feature: Feature) -> str:
    return feature.name if feature.name.isidentifier() else f"`{feature.name}`"


def _of_feature(feature: Feature, codes: Int[np.ndarray, " row"]) -> Quantity:
    numbers = _numbers(feature, codes)
    yes_no = set(feature.values) == {"no", "yes"}
    if numbers is None:
        values = tuple(map(_quoted, feature.values))
        return Quantity(_name(feature), 1, values, False, yes_no, codes)
    low = int(numbers.min())
    return Quantity(_name(feature), 1, _written(low, int(numbers.max())), True, False, numbers - low)


def _quoted(value: str) -> str:
    """A value as a string of the language; "" for one that cannot be written there."""
    if "\\" in value or "\n" in value:
        return ""
    return f'"{value}"' if '"' not in value else f"'{value}'" if "'" not in value else ""


def _written(low: int, high: int) -> tuple[str, ...]:
    return tuple(map(str, range(low, high + 1)))


def _numbers(feature: Feature, codes: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"] | None:
    """The number of each input; None where one has none."""
    if len(feature.values) > MOST_ADDED:
        return None
    table = [int(value) if _NUMBER.fullmatch(value) else None for value in feature.values]
    if any(table[code] is None for code in np.unique(codes).tolist()):
        return None
    values: Int[np.ndarray, " row"] = np.array([0 if number is None else number for number in table])[codes]
    return values


def _pairs(simple: Sequence[Quantity], numbers: Sequence[Int[np.ndarray, " row"] | None]) -> Iterator[Quantity]:
    """Sums and differences of two that are numbers, and whether two with the same names are equal."""
    for (one, a), (other, b) in combinations(zip(simple, numbers, strict=True), 2):
        if a is not None and b is not None:
            for sign, result in (("+", a + b), ("-", a - b)):
                low = int(result.min())
                text = f"{one.text} {sign} {other.text}"
                yield Quantity(text, 2, _written(low, int(result.max())), True, False, result - low)
        elif a is None and b is None and one.values == other.values and not one.yes_no:
            same = (one.codes == other.codes).astype(np.int64)
            yield Quantity(f"{one.text} == {other.text}", 2, ("no", "yes"), False, True, same)
