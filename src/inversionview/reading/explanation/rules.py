"""The search for a rule: short conditions over quantities, of up to three parts, that hold for members and no others.

What a rule is worth adds up over the inputs for which it holds, each with a weight: that of a member counts for it,
that of another input against it, and both kinds weigh the same in all. So the best part over one quantity, of any form,
follows from one sum a value. Parts are joined by `and` and by `or`, a few of the best rules at a time. Of all that are
within an error of the best, the shortest is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from inversionview.expressions import MAX_LENGTH
from inversionview.reading.explanation.forms import Condition, Forms
from inversionview.reading.explanation.quantities import Quantity

MOST_PARTS = 3
KEPT = 6
"""Rules that are gone on with, and conditions of each cost that are joined to them."""
_LEAST_GAIN = 1e-9


@dataclass(frozen=True, eq=False)
class Rule:
    """A condition, and for which of the inputs it holds."""

    text: str
    words: str
    parts: int
    cost: int
    """Features and values in it: the shorter of two rules has less."""
    value: float
    """The sum of the weights of the inputs for which it holds."""
    holds: Bool[np.ndarray, " row"]
    about: tuple[str, ...] = ()
    """The quantities in it."""
    joined: str = ""
    """By what its parts are joined last."""

    def within(self, text: str, operator: str) -> str:
        """Its text or its words, as a part of a longer rule."""
        return f"({text})" if self.joined and self.joined != operator else text


class Table:
    """Inputs with their weights, and the quantities of them."""

    def __init__(self, quantities: Sequence[Quantity], weights: Float[np.ndarray, " row"], query: int) -> None:
        """`weights`: above 0 for members, which add up to 1, and below for others, which do too; `query`: the row of
        the input that was asked about, which may have no weight.
        """
        self.quantities, self.weights, self.query = quantities, weights, query
        self._own = np.array([quantity.codes[query] for quantity in quantities])
        width = max(len(quantity.values) for quantity in quantities)
        self._shape = len(quantities), width
        self._cells = np.stack([quantity.codes + row * width for row, quantity in enumerate(quantities)])

    def rules(self) -> list[Rule]:
        """The best rules that were found of each cost, each worth more than the shorter ones; the shortest first."""
        kept = [Rule("", "", 0, 0, 0.0, np.zeros(len(self.weights), dtype=bool))]
        best: dict[int, Rule] = {}
        for _ in range(MOST_PARTS):
            longer = [rule for start in kept for rule in self._longer(start) if len(rule.text) <= MAX_LENGTH]
            longer = _distinct(longer)
            kept = sorted(longer, key=lambda rule: (-round(rule.value, 9), rule.cost))[:KEPT]
            for rule in longer:
                if bool(rule.holds[self.query]) and _better(rule, best.get(rule.cost)):
                    best[rule.cost] = rule
        front: list[Rule] = []
        for cost in sorted(best):
            if not front or best[cost].value > front[-1].value + _LEAST_GAIN:
                front.append(best[cost])
        return front

    def _longer(self, rule: Rule) -> list[Rule]:
        """Rules with one part more: a few of the greatest value of each cost."""
        every = np.ones(len(self.weights), dtype=bool)
        ways = [("", every)] if not rule.parts else [("and", rule.holds), ("or", ~rule.holds)]
        return [
            self._joined(rule, number, value, condition, rows, operator)
            for operator, rows in ways
            for number, value, condition in self._best(rows, self._own if operator != "or" else None)
        ]

    def _joined(
        self, rule: Rule, number: int, value: float, condition: Condition, rows: Bool[np.ndarray, " row"], operator: str
    ) -> Rule:
        quantity, holds = self.quantities[number], rows & condition.holds_for(self.quantities[number])
        if operator == "or":
            holds, value = holds | rule.holds, value + rule.value
        text, words = condition.text, condition.words
        if operator:
            text = f"{rule.within(rule.text, operator)} {operator} {text}"
            words = f"{rule.within(rule.words, operator)} {operator} {words}"
        about = tuple(dict.fromkeys((*rule.about, quantity.text)))
        cost = rule.cost + quantity.features + condition.listed
        return Rule(text, words, rule.parts + 1, cost, value, holds, about, operator)

    def _best(
        self, rows: Bool[np.ndarray, " row"], own: Int[np.ndarray, " quantity"] | None
    ) -> list[tuple[int, float, Condition]]:
        """A few of the conditions of each cost that are worth most among some of the inputs, with their quantity.

        That is its number. They hold for the values `own`, where these are given.
        """
        weights = np.broadcast_to(np.where(rows, self.weights, 0.0), self._cells.shape)
        sums = np.bincount(self._cells.ravel(), weights=weights.ravel(), minlength=self._shape[0] * self._shape[1])
        forms = Forms(self.quantities, sums.reshape(self._shape), own)
        values = np.stack([value for _, _, value in forms.all])
        costs = np.stack([np.array([quantity.features for quantity in self.quantities]) + n for _, n, _ in forms.all])
        found = []
        for cost in np.unique(costs):
            masked = np.where(costs == cost, values, -np.inf).ravel()
            for at in np.argsort(-np.round(masked, 9), kind="stable")[:KEPT].tolist():
                if masked[at] > _LEAST_GAIN:
                    form, number = divmod(at, self._shape[0])
                    found.append((number, float(masked[at]), forms.condition(form, number)))
        return found


def _better(rule: Rule, other: Rule | None) -> bool:
    return other is None or (-round(rule.value, 9), rule.text) < (-round(other.value, 9), other.text)


def _distinct(rules: Sequence[Rule]) -> list[Rule]:
    """Of rules that hold for the same inputs, the shortest."""
    by_rows: dict[bytes, Rule] = {}
    for rule in sorted(rules, key=lambda rule: (rule.cost, rule.text)):
        by_rows.setdefault(np.packbits(rule.holds).tobytes(), rule)
    return list(by_rows.values())
