"""The conditions on single quantities that are worth most, of each form, for all quantities at once.

Values are in the columns of a table of sums, one row a quantity: what the inputs with a value are worth together. A
condition is worth the sum over the values for which it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from inversionview.reading.explanation.quantities import Quantity

MOST_LISTED = 4
"""Values in one list."""
_END = 20
"""Characters of the beginning and of the end of a long value."""
Worth = Float[np.ndarray, " quantity"]
"""Minus infinity where a quantity has no condition of the form."""
_Ranked = tuple[Int[np.ndarray, "quantity listed"], Float[np.ndarray, "quantity listed"]]


class Condition(NamedTuple):
    """What may be said of one quantity."""

    text: str
    words: str
    listed: int
    """Values that stand in it."""
    codes: Int[np.ndarray, " value"]
    """For which it holds."""

    def holds_for(self, quantity: Quantity) -> Bool[np.ndarray, " row"]:
        """For which inputs."""
        table = np.zeros(len(quantity.values), dtype=bool)
        table[self.codes] = True
        holds: Bool[np.ndarray, " row"] = table[quantity.codes]
        return holds


class Forms:
    """Of each form the best condition on each quantity; they hold for the values `own`, where these are given."""

    def __init__(
        self,
        quantities: Sequence[Quantity],
        sums: Float[np.ndarray, "quantity value"],
        own: Int[np.ndarray, " quantity"] | None,
    ) -> None:
        self.quantities, self.sums = quantities, sums
        self._rows = np.arange(len(quantities))
        self._n = np.array([len(quantity.values) for quantity in quantities])
        there = np.arange(sums.shape[1]) < self._n[:, None]
        named = np.array([[bool(v) for v in q.values] + [False] * (sums.shape[1] - len(q.values)) for q in quantities])
        self.middle = np.where(there, sums, -np.inf).argmax(axis=1) if own is None else own
        """The value that each condition holds for at least."""
        self._yes_no = np.array([quantity.yes_no for quantity in quantities])
        self._ordered = np.array([quantity.ordered for quantity in quantities])
        self._listable = ~self._yes_no & named[self._rows, self.middle]
        others = there & named
        others[self._rows, self.middle] = False
        self._others = others

    @cached_property
    def all(self) -> list[tuple[str, int, Worth]]:
        """The name of each form, how many values stand in it, and what its best condition is worth."""
        single = np.where(self._yes_no, self.sums[self._rows, self.middle], -np.inf)
        least, most = self._up_to, self._from
        between = self._between
        forms = [("yes", 0, single), ("most", 1, least[0]), ("least", 1, most[0]), ("between", 2, between[0])]
        forms += [("in", k, self._in[:, k - 1]) for k in range(1, MOST_LISTED + 1)]
        return forms + [("not in", k, self._not_in[:, k - 1]) for k in range(1, MOST_LISTED + 1)]

    @cached_property
    def _sums_up_to(self) -> Float[np.ndarray, "quantity value"]:
        return self.sums.cumsum(axis=1)

    def _limited(
        self, worth: Float[np.ndarray, "quantity value"], allowed: Bool[np.ndarray, "quantity value"]
    ) -> tuple[Worth, Int[np.ndarray, " quantity"]]:
        limited = np.where(allowed & self._ordered[:, None] & self._listable[:, None], worth, -np.inf)
        at = limited.argmax(axis=1)
        return limited[self._rows, at], at

    @cached_property
    def _up_to(self) -> tuple[Worth, Int[np.ndarray, " quantity"]]:
        place = np.arange(self.sums.shape[1])
        return self._limited(self._sums_up_to, (place >= self.middle[:, None]) & (place < self._n[:, None] - 1))

    @cached_property
    def _from(self) -> tuple[Worth, Int[np.ndarray, " quantity"]]:
        place = np.arange(self.sums.shape[1])
        before = self._sums_up_to - self.sums
        rest = self._sums_up_to[:, -1:] - before
        return self._limited(rest, (place <= self.middle[:, None]) & (place > 0))

    @cached_property
    def _between(self) -> tuple[Worth, Int[np.ndarray, " quantity"], Int[np.ndarray, " quantity"]]:
        place, middle = np.arange(self.sums.shape[1]), self.middle[:, None]
        before = self._sums_up_to - self.sums
        below, low = self._limited(-before, (place <= middle) & (place > 0))
        above, high = self._limited(self._sums_up_to, (place >= middle) & (place < self._n[:, None] - 1))
        with np.errstate(invalid="ignore"):
            worth = np.where(low < high, above + below, -np.inf)
        return np.nan_to_num(worth, nan=-np.inf, neginf=-np.inf), low, high

    def _ranked(self, sign: int) -> _Ranked:
        """The other values that are worth most (or least), and what they are worth together; those that add nothing
        are worth minus infinity.
        """
        signed = np.where(self._others, sign * self.sums, -np.inf)
        first = np.argsort(-signed, axis=1, kind="stable")[:, :MOST_LISTED]
        worth = np.take_along_axis(signed, first, axis=1)
        return first, np.where(worth > 0, worth, -np.inf).cumsum(axis=1)

    @cached_property
    def _most(self) -> _Ranked:
        return self._ranked(1)

    @cached_property
    def _least(self) -> _Ranked:
        return self._ranked(-1)

    @cached_property
    def _in(self) -> Float[np.ndarray, "quantity listed"]:
        own = np.where(self._listable, self.sums[self._rows, self.middle], -np.inf)[:, None]
        more = self._most[1][:, : MOST_LISTED - 1]
        return self._padded(np.concatenate([own, own + more], axis=1), self._n - 1)

    @cached_property
    def _not_in(self) -> Float[np.ndarray, "quantity listed"]:
        whole = np.where(self._listable, self.sums.sum(axis=1), -np.inf)[:, None]
        return self._padded(whole + self._least[1], self._n - 2)

    def _padded(
        self, worth: Float[np.ndarray, "quantity some"], most: Int[np.ndarray, " quantity"]
    ) -> Float[np.ndarray, "quantity listed"]:
        """With as many columns as there may be values, and nothing for lists of more values than `most`."""
        wide = np.full((len(worth), MOST_LISTED), -np.inf)
        wide[:, : worth.shape[1]] = worth
        return np.where(np.arange(1, MOST_LISTED + 1) <= most[:, None], wide, -np.inf)

    # In words

    def condition(self, form: int, number: int) -> Condition:
        """The best condition of a form, by its index in `all`, on a quantity."""
        name, listed, _ = self.all[form]
        quantity, middle = self.quantities[number], int(self.middle[number])
        text, values = quantity.text, quantity.values
        if name == "yes":
            return _yes_no(quantity, middle)
        if name == "most":
            last = int(self._up_to[1][number])
            return Condition(f"{text} <= {values[last]}", f"{text} is at most {values[last]}", 1, np.arange(last + 1))
        if name == "least":
            first = int(self._from[1][number])
            at_least = f"{text} is at least {values[first]}"
            return Condition(f"{text} >= {values[first]}", at_least, 1, np.arange(first, len(values)))
        if name == "between":
            low, high = int(self._between[1][number]), int(self._between[2][number])
            words = f"{text} is from {values[low]} to {values[high]}"
            return Condition(f"{values[low]} <= {text} <= {values[high]}", words, 2, np.arange(low, high + 1))
        if name == "in":
            codes = np.sort([middle, *self._most[0][number, : listed - 1].tolist()])
            return _listed(quantity, codes, codes, ("==", "in"), ("is", "is one of"))
        left_out = np.sort(self._least[0][number, :listed])
        codes = np.setdiff1d(np.arange(len(values)), left_out)
        return _listed(quantity, left_out, codes, ("!=", "not in"), ("is not", "is none of"))


def _yes_no(quantity: Quantity, code: int) -> Condition:
    text, yes = quantity.text, quantity.values[code].strip('"') == "yes"
    if " == " in text:  # of two features
        words = text.replace(" == ", " is " if yes else " is not ")
        return Condition(text if yes else text.replace(" == ", " != "), words, 0, np.array([code]))
    value = "yes" if yes else "no"
    return Condition(f'{text} == "{value}"', f"{text} is {value}", 0, np.array([code]))


def _listed(
    quantity: Quantity,
    values: Int[np.ndarray, " listed"],
    codes: Int[np.ndarray, " value"],
    operators: tuple[str, str],
    words: tuple[str, str],
) -> Condition:
    text, named = quantity.text, [quantity.values[code] for code in values.tolist()]
    said = ", ".join(map(_short, named))
    if len(values) == 1:
        return Condition(f"{text} {operators[0]} {named[0]}", f"{text} {words[0]} {said}", 1, codes)
    return Condition(f"{text} {operators[1]} ({', '.join(named)})", f"{text} {words[1]} {said}", len(values), codes)


def _short(value: str) -> str:
    """A value as it stands in words: of a long one, such as a template, its beginning and its end."""
    return value if len(value) <= 2 * _END + 1 else f"{value[:_END]}…{value[-_END:]}"
