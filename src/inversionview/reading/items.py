"""What members of a preimage may be told apart by: tokens in columns, or features; with their prior distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int

from inversionview.reading.information import codes_of, prior_draws
from inversionview.results.map import UNASKED
from inversionview.results.preimage import Preimage
from inversionview.tasks.base import Feature, Task
from inversionview.tasks.positions import eligible_role, last_eligible

FREE = "·"
"""Stands for a token that is free."""
_PAIR_VALUES = 2000
"""Pairs with more values are not tried: there are too few draws to know their prior."""
_FEWER = 0.6
"""What is made of others has more values than they: a sum of digits, or a pair of names."""
_REPEATED = 0.05
"""An item of which fewer bits are left by others repeats them."""


def joint(
    codes: Int[np.ndarray, "item row"], sizes: Sequence[int] | Int[np.ndarray, " item"]
) -> Int[np.ndarray, " row"]:
    """One code for the values of several items; the first one's size does not matter."""
    together = np.zeros(codes.shape[1], dtype=np.int64)
    for one, size in zip(codes, sizes, strict=True):
        together = together * int(size) + one
    return together


class Items:
    """Items, and how they are distributed in draws from the prior."""

    def __init__(self, names: Sequence[str], draws: Int[np.ndarray, "item draw"]) -> None:
        self.names = tuple(names)
        compact = [np.unique(row, return_inverse=True) for row in draws]
        self._values = [values for values, _ in compact]
        self._draws = np.stack([codes.reshape(-1) for _, codes in compact])
        self.sizes = np.array([len(values) for values in self._values])
        """Values of each that were drawn."""
        self._entropies: dict[tuple[int, ...], float] = {(): 0.0}
        self._masses: dict[tuple[int, ...], Float[np.ndarray, " value"]] = {}

    most: int | None = None
    """So many are chosen at most."""

    @property
    def simple(self) -> Sequence[int]:
        """Those that are tried first."""
        return range(len(self.names))

    def values(
        self, tokens: Int[np.ndarray, "row pos"], positions: Int[np.ndarray, " row"], items: Sequence[int]
    ) -> Int[np.ndarray, "item row"]:
        """What inputs have of some items."""
        raise NotImplementedError

    def words(self, strings: Sequence[str], values: Sequence[int], items: Sequence[int]) -> str:
        """What an input has of some items; `strings` are its tokens."""
        raise NotImplementedError

    def codes(self, values: Int[np.ndarray, "item row"]) -> Int[np.ndarray, "item row"]:
        """Values of all items by their numbers among those that were drawn; all others have the next number."""
        codes = []
        for drawn, row in zip(self._values, values, strict=True):
            code = np.searchsorted(drawn, row)
            codes.append(np.where(drawn[np.minimum(code, len(drawn) - 1)] == row, code, len(drawn)))
        return np.stack(codes)

    def prior(self, items: tuple[int, ...], sizes: Int[np.ndarray, " item"]) -> Float[np.ndarray, " value"]:
        """Share of the draws with each value of one or two items together; half a draw where there is none."""
        key = (*items, *sizes.tolist())
        if key not in self._masses:
            counts = np.bincount(joint(self._draws[list(items)], sizes), minlength=int(np.prod(sizes)))
            self._masses[key] = np.maximum(counts, 0.5) / self._draws.shape[1]
        return self._masses[key]

    def pairs(self, left: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Pairs that may be tried together."""
        for one, other in combinations(left, 2):
            if self.sizes[one] * self.sizes[other] <= _PAIR_VALUES:
                yield one, other

    def entropy(self, items: Sequence[int]) -> float:
        """Of items together, in bits, with the correction of Miller and Madow (1955)."""
        key = tuple(sorted(set(items)))
        if key not in self._entropies:
            together, n = joint(self._draws[list(key)], self.sizes[list(key)]), self._draws.shape[1]
            few = np.prod(self.sizes[list(key)].astype(float)) <= 10 * n
            counts = np.bincount(together) if few else np.unique(together, return_counts=True)[1]
            shares = counts[counts > 0] / n
            entropy = -(shares * np.log2(shares)).sum() + (len(shares) - 1) / (2 * n * np.log(2))
            self._entropies[key] = float(entropy)
        return self._entropies[key]

    def entropy_given(self, items: Sequence[int], given: Sequence[int]) -> float:
        """Of items, given those two of `given` that leave the least: more together would be known from few draws."""
        pairs = list(combinations(given, min(2, len(given))))
        return max(0.0, min(self.entropy((*items, *pair)) - self.entropy(pair) for pair in pairs))

    def without_repeats(self, chosen: Sequence[int]) -> list[int]:
        """The items that the others do not make certain, in their order."""
        return sorted(chosen)


class Columns(Items):
    """Tokens at positions up to the one that is read, where these mean the same in every input."""

    def __init__(self, task: Task, tokens: torch.Tensor, position: int) -> None:
        drawn = tokens[:, 1 : position + 1].numpy().T
        self._varied = [i + 1 for i, column in enumerate(drawn) if (column != column[0]).any()]
        names = [task.role(tokens[0], i) for i in self._varied]
        self.position = position
        super().__init__(
            [name if name in task.roles else f"token {name}" for name in names], tokens[:, self._varied].numpy().T
        )

    def values(
        self, tokens: Int[np.ndarray, "row pos"], positions: Int[np.ndarray, " row"], items: Sequence[int]
    ) -> Int[np.ndarray, "item row"]:
        """The tokens there."""
        return np.asarray(tokens[:, [self._varied[i] for i in items]].T.astype(np.int64))

    def words(self, strings: Sequence[str], values: Sequence[int], items: Sequence[int]) -> str:
        """The tokens up to the last one that varies, with `·` for those that are free."""
        free = set(self._varied) - {self._varied[i] for i in items}
        shown = [_free(strings[i]) if i in free else strings[i] for i in range(1, self._varied[-1] + 1)]
        return "".join(shown).strip()


def _free(token: str) -> str:
    return token[: len(token) - len(token.lstrip())] + FREE


class Features(Items):
    """Features of the task."""

    most = 3

    def __init__(self, features: Sequence[Feature], tokens: torch.Tensor, positions: torch.Tensor) -> None:
        self._features = features
        super().__init__([feature.name for feature in features], codes_of(features, tokens, positions))
        self._simple = [i for i in range(len(features)) if not self._made_of_others(i)]

    @property
    def simple(self) -> Sequence[int]:
        """Those that no one or two others with far fewer values make certain."""
        return self._simple

    def _made_of_others(self, item: int) -> bool:
        smaller = [i for i in range(len(self.names)) if self.sizes[i] < _FEWER * self.sizes[item]]
        return len(smaller) > 0 and self.entropy_given([item], smaller) < _REPEATED

    def values(
        self, tokens: Int[np.ndarray, "row pos"], positions: Int[np.ndarray, " row"], items: Sequence[int]
    ) -> Int[np.ndarray, "item row"]:
        """Their codes."""
        there = torch.from_numpy(tokens).long(), torch.from_numpy(positions).long()
        return codes_of([self._features[i] for i in items], *there)

    def words(self, strings: Sequence[str], values: Sequence[int], items: Sequence[int]) -> str:
        """The values of features, each after its name."""
        codes = zip(items, values, strict=True)
        return ", ".join(f"{self.names[i]} = {self._features[i].values[code]}" for i, code in codes)

    def without_repeats(self, chosen: Sequence[int]) -> list[int]:
        """The items that the others do not make certain, in their order; of several, the first ones stay."""
        kept = sorted(chosen)
        for item in sorted(chosen, reverse=True):
            others = [i for i in kept if i != item]
            if others and self.entropy_given([item], others) < _REPEATED:
                kept = others
        return kept


class _Known(NamedTuple):
    names: tuple[str, ...]
    """Of the features: a task may be given more of them later."""
    kinds: tuple[Items, ...]


_items: WeakKeyDictionary[Task, dict[str | None, _Known]] = WeakKeyDictionary()


def items_of(preimage: Preimage, task: Task) -> Iterator[Items]:
    """Columns, where named positions of all inputs and of the members stand in such, and then features."""
    for items in _kinds(task, preimage.query.role if preimage.position_rule == "same" else None):
        if not isinstance(items, Columns) or (preimage.positions[preimage.inside] == items.position).all():
            yield items


def simple_features(task: Task, role: str | None) -> set[str]:
    """The features that no one or two others with far fewer values make certain: no sums, no pairs of names."""
    features = [items for items in _kinds(task, role) if isinstance(items, Features)]
    return {items.names[i] for items in features for i in items.simple}


def _kinds(task: Task, role: str | None) -> tuple[Items, ...]:
    by_role, names = _items.setdefault(task, {}), tuple(task.features)
    if role not in by_role or by_role[role].names != names:
        by_role[role] = _Known(names, tuple(_made(task, role)))
    return by_role[role].kinds


def _made(task: Task, role: str | None) -> Iterator[Items]:
    tokens = prior_draws(task)
    positions = last_eligible(task, tokens) if role is None else eligible_role(task, tokens, role)
    tokens, positions = tokens[positions >= 0], positions[positions >= 0]
    if not len(tokens):
        return
    column, named = int(positions[0]), [name for name in task.roles if not name.isdigit()]
    if role in named and bool((positions == column).all()):
        places = [place for place in task.places(tokens).values() if int(place.min()) <= column]
        if all(bool((place == place[0]).all()) for place in places) and bool(
            (tokens[:, 1 : column + 1] != tokens[0, 1 : column + 1]).any()
        ):
            yield Columns(task, tokens, column)
    unasked = set(UNASKED) if named else set(UNASKED) - {"token"}  # in text a token is what there is to know
    features = [feature for name, feature in task.features.items() if name not in unasked]
    if features:
        yield Features(features, tokens, positions)
