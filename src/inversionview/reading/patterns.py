"""What the members of a preimage share: groups of them, each with its share by weight.

Members are told apart by a few *items*: tokens at positions where the inputs of the task stand in columns, features
elsewhere. Items are chosen one at a time, first the one of which the members make the largest share certain; or a pair
of which they make more certain than of either (F1 and S1 may each be free, and 9 of 81 pairs left). Groups stay few.
How certain something is, is measured by forecasting each member from the others: so few members do not look alike by
chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from inversionview.reading.information import codes_of
from inversionview.reading.items import Items, items_of, joint
from inversionview.results import estimators
from inversionview.results.estimates import LEFT, Pattern, Patterns
from inversionview.results.map import KNOWN_SHARE, LEAST_BITS, PARTLY, UNASKED
from inversionview.results.preimage import Preimage
from inversionview.results.shares import ShareErrors
from inversionview.tasks.base import Task

MOST = 8
"""Patterns that are given at most; one less where others are left."""
MOST_GROUPS = 10.0
"""Groups of equal share that members are told apart into at most."""
KNOWN = 0.3
"""Share of the entropy of an item that members make certain at least."""
LEAST_SHARE = 0.01
"""Share of a pattern that is given."""
LEAST_COVERED = 0.25
"""Share of the members that have one of the patterns given, at least."""
SEARCHED = 5000
"""Members by which items are chosen at most, drawn by weight."""
EXAMPLES = 3


def with_patterns(preimage: Preimage, task: Task) -> Preimage:
    """The preimage with what its members share, and what its near misses have in place of that."""
    found = patterns(preimage, task)
    return dataclasses.replace(preimage, patterns=found, differences=_differences(preimage, task))


def patterns(preimage: Preimage, task: Task) -> Patterns:
    """The members of a preimage, grouped by what they share; with `why_not` where that is nothing."""
    if preimage.n_inside < 2:
        return Patterns(rest=float(preimage.n_inside), why_not=f"no pattern: {_few(preimage.n_inside)}")
    worth = preimage.effective_size if preimage.weighted else float(preimage.n_inside)
    if worth < estimators.LEAST_SIZE and not preimage.exact:
        few = f"{preimage.n_inside} members were found, worth {worth:.1f} of equal weight"
        return Patterns(rest=1.0, why_not=f"no pattern: {few}, too few to compare")
    members = _Members(preimage)
    for items in items_of(preimage, task):
        chosen = _search(items, members, worth)
        found = _grouped(preimage, items, members, chosen) if chosen else Patterns()
        if found.found:
            return found
    return Patterns(rest=1.0, why_not="no pattern: the members share nothing more than any inputs do")


class _Members:
    """The members in their typical order."""

    def __init__(self, preimage: Preimage) -> None:
        self.rows = preimage.typical_order()
        self.shares = preimage.member_shares[self.rows]
        self.tokens, self.positions = preimage.tokens[self.rows], preimage.positions[self.rows]

    def values(self, items: Items, which: Sequence[int], n: int | None = None) -> Int[np.ndarray, "item row"]:
        """What the first `n` have of some items."""
        return items.values(self.tokens[:n], self.positions[:n], which)


def _few(members: int) -> str:
    return "there is one member only" if members else "there are no members"


def _search(items: Items, members: _Members, worth: float) -> list[int]:
    """The items by which members are told apart; simple ones first, then what these leave."""
    every = range(len(items.names))
    codes, weights = items.codes(members.values(items, every, SEARCHED)), members.shares[:SEARCHED]
    search = _Search(items, codes, weights / weights.sum(), worth)
    for candidates in (items.simple, every):
        while search.add_best(candidates):
            pass
    return items.without_repeats(search.chosen)


class _Search:
    """Items chosen so far, and the groups that they part members into."""

    def __init__(
        self, items: Items, codes: Int[np.ndarray, "item row"], weights: Float[np.ndarray, " row"], worth: float
    ) -> None:
        self.items, self.codes, self.weights = items, codes, weights
        self.sizes = np.maximum(items.sizes, codes.max(axis=1, initial=-1) + 1)
        self.counts = weights * worth
        """Members of equal weight that each is worth."""
        self.chosen: list[int] = []
        self.groups = np.zeros(codes.shape[1], dtype=np.int64)

    def add_best(self, candidates: Sequence[int]) -> bool:
        """Choose one more item or pair, the one of which the largest share is known; False where none is known."""
        best = min(self._known(candidates), key=lambda known: (known[0], len(known[1]), known[1]), default=None)
        if best is None:
            return False
        added = best[1]
        self.chosen += added
        together = joint(np.stack([self.groups, *self.codes[list(added)]]), np.array([1, *self.sizes[list(added)]]))
        self.groups = np.unique(together, return_inverse=True)[1].reshape(-1)
        return True

    def _known(self, candidates: Sequence[int]) -> Iterator[tuple[float, tuple[int, ...]]]:
        """What may be added, after minus the share that is known of it."""
        left = [i for i in candidates if i not in self.chosen]
        room = (self.items.most or len(self.items.names)) - len(self.chosen)
        known = {}
        for i in left:
            of, bits, few = self._bits((i,))
            known[i] = bits / of
            if room > 0 and few and bits >= KNOWN * of:
                yield -round(bits / of, 1), (i,)
        for one, other in self.items.pairs(left if room > 1 else ()):
            of, bits, few = self._bits((one, other))
            if few and bits / of >= max(KNOWN, known[one], known[other]):
                yield -round(bits / of, 1), (one, other)

    def _bits(self, added: tuple[int, ...]) -> tuple[float, float, bool]:
        """Bits there are to know of one or two items, those that are known, and whether the groups would be few."""
        of = self.items.entropy_given(added, self.chosen)
        if of < LEAST_BITS:
            return 1.0, 0.0, False
        sizes = self.sizes[list(added)]
        values, n_values = joint(self.codes[list(added)], sizes), int(np.prod(sizes))
        both = self.groups * n_values + values
        members = np.bincount(both, weights=self.counts)
        share = members[members > 0] / self.counts.sum()
        few = float(-(share * np.log2(share)).sum()) <= np.log2(MOST_GROUPS)
        others = np.maximum(members[both] - self.counts, 0)
        everyone = np.maximum(np.bincount(self.groups, weights=self.counts)[self.groups] - self.counts, 0)
        forecast = (others + self.items.prior(added, sizes)[values]) / (everyone + 1)
        return of, of + float(self.weights @ np.log2(forecast)), few


def _grouped(preimage: Preimage, items: Items, members: _Members, chosen: Sequence[int]) -> Patterns:
    """The members grouped by these items."""
    values, group, counts = _groups(members.values(items, chosen))
    shares = np.round(np.bincount(group, weights=members.shares) / members.shares.sum(), 12)
    largest = np.argsort(-shares, kind="stable")
    shared = [int(i) for i in largest if counts[i] > 1 and shares[i] >= LEAST_SHARE]
    shown = shared[: MOST if len(shared) == len(largest) <= MOST else MOST - 1]
    if shares[shown].sum() < LEAST_COVERED:
        return Patterns()
    own, errors, found = _of_query(preimage, items, chosen), ShareErrors(preimage), []
    for i in shown:
        rows = members.rows[group == i]
        has = np.zeros(len(preimage), dtype=bool)
        has[rows] = True
        pattern = Pattern(
            words=items.words(preimage.token_strings[int(rows[0])], values[:, i].tolist(), chosen),
            share=float(shares[i]),
            interval=errors.interval(has),
            members=len(rows),
            examples=tuple(preimage.inputs[row] for row in rows[:EXAMPLES]),
            of_query=own == values[:, i].tolist(),
        )
        found.append(pattern)
    rest = max(0.0, 1.0 - sum(pattern.share for pattern in found))
    return Patterns(tuple(found), rest if rest > 1e-9 else 0.0, tuple(items.names[i] for i in chosen))


class _Groups(NamedTuple):
    values: Int[np.ndarray, "item group"]
    group: Int[np.ndarray, " row"]
    """Of each row, its number."""
    counts: Int[np.ndarray, " group"]


def _groups(values: Int[np.ndarray, "item row"]) -> _Groups:
    """Rows that have the same values of all items, in the order of these."""
    sizes = values.max(axis=1) + 1
    first, group, counts = np.unique(joint(values, sizes), return_index=True, return_inverse=True, return_counts=True)[
        1:
    ]
    return _Groups(values[:, first], group.reshape(-1), counts)


def _of_query(preimage: Preimage, items: Items, chosen: Sequence[int]) -> list[int] | None:
    query = preimage.query
    if query.input is None:
        return None
    own: list[int] = items.values(np.array([query.tokens]), np.array([query.position]), chosen)[:, 0].tolist()
    return own


def _differences(preimage: Preimage, task: Task) -> tuple[str, ...]:
    """Of each near miss the known features that no member has its value of; of others, where they are, nothing."""
    misses = np.flatnonzero(preimage.in_domain & ~preimage.inside & (preimage.positions >= 0))
    told = [known for known in estimators.informative_bits(preimage.bits) if known.left and known.name not in UNASKED]
    if not len(misses) or not told:
        return ()
    told.sort(key=lambda known: (known.share < KNOWN_SHARE, -round(known.share, 2), -known.of))
    features = [task.features[known.name] for known in told]
    tokens, positions = (torch.from_numpy(part[misses]).long() for part in (preimage.tokens, preimage.positions))
    codes, words = codes_of(features, tokens, positions), [""] * len(preimage)
    for row, of_row in zip(misses.tolist(), codes.T.tolist(), strict=True):
        for known, feature, code in zip(told, features, of_row, strict=True):
            value, values = feature.values[code], [value for value, _ in known.left]
            if known.share >= PARTLY and value not in values and (known.share >= KNOWN_SHARE or len(values) < LEFT):
                words[row] = f"{feature.name} = {value}"
                break
    return tuple(words)
