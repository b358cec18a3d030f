"""What two preimages share: the members of each are run through the model at the other's place."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool

from inversionview.errors import UserError
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.verification import at_role, best, eligible_distances, within
from inversionview.progress import stage
from inversionview.reading.patterns import patterns
from inversionview.results.overlap import Overlap, Part
from inversionview.results.preimage import Preimage
from inversionview.studies.parts import Parts

MOST = 2000
"""Members of each that are looked at, the first in typical order: shares are known to about 2%."""
EXAMPLES = 3


def overlap(parts: Parts, first: Preimage, second: Preimage) -> Overlap:
    """Which members of two preimages are in both, and which in one alone.

    That an input was not drawn does not tell that it is no member, so all that were found are run again. Raises
    `UserError` for preimages of a vector at no named position.
    """
    first, second = _some(first), _some(second)
    with stage("running members at the other place", first.n_inside + second.n_inside):
        in_second, in_first = _members_of(parts, first, second), _members_of(parts, second, first)
    shares = float(first.member_shares[in_second].sum()), float(second.member_shares[in_first].sum())
    rows = (
        ("both", first, in_second, shares),
        ("first", first, first.inside & ~in_second, (1 - shares[0] if first.n_inside else 0.0, None)),
        ("second", second, second.inside & ~in_first, (None, 1 - shares[1] if second.n_inside else 0.0)),
    )
    return Overlap(tuple(_part(parts, *row) for row in rows))


def _some(preimage: Preimage) -> Preimage:
    """The preimage with at most `MOST` of its members, drawn by weight."""
    order = preimage.typical_order()
    return preimage if len(order) <= MOST else _only(preimage, order[:MOST])


def _only(preimage: Preimage, rows: np.ndarray) -> Preimage:
    kept = np.zeros(len(preimage), dtype=bool)
    kept[rows] = True
    return dataclasses.replace(preimage, in_domain=preimage.in_domain & kept)


def _members_of(parts: Parts, these: Preimage, other: Preimage) -> Bool[np.ndarray, " candidate"]:
    """Which members of one preimage are members of another."""
    rows = np.flatnonzero(these.inside)
    found = np.zeros(len(these), dtype=bool)
    if not len(rows):
        return found
    task, query = parts.task, other.query
    if other.position_rule == "same" and not query.role:
        raise UserError("a vector of no named position has no place at which other inputs could be run")
    tokens = torch.from_numpy(these.tokens[rows]).long()
    z_q = query_activations(parts.probed, task, [query]).expand(len(tokens), -1)
    everywhere = eligible_distances(parts.probed, task, tokens, query.site, z_q, metric=other.metric)
    is_same = other.position_rule == "same"
    nearest = at_role(everywhere, task.position_of(tokens, query.role)) if is_same else best(everywhere)
    found[rows] = within(nearest, task.contains(tokens), other.epsilon).numpy()
    return found


def _part(
    parts: Parts,
    name: str,
    preimage: Preimage,
    members: Bool[np.ndarray, " candidate"],
    shares: tuple[float | None, float | None],
) -> Part:
    rows = np.flatnonzero(members)
    if not len(rows):
        return Part(name, 0, shares)
    only = _only(preimage, rows)
    examples = dict.fromkeys(only.typical(8 * EXAMPLES))
    return Part(name, len(rows), shares, patterns(only, parts.task), tuple(examples)[:EXAMPLES])
