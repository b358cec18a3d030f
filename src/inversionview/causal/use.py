"""Is what an activation encodes also used? Put the activations of other inputs into the query's run, and look.

Members of the preimage: if the reading is right about what the model sees there, the output holds. Non-members: if the
model uses the activation, the output changes. And for each feature, non-members that have the query's value of it
against those that do not: where the model uses the feature, the former keep the output better.

What the numbers mean. The effect of an activation is the largest KL(clean ‖ patched), in nats, of the next token over
the positions that predict the answer; the input around it stays the query's own. A difference between non-members that
share a feature and others is of natural inputs, in which features go together: sums that share F1 + S1 mostly share A1
as well, so either may get the credit for the other. `given` holds other features at the query's value in both groups,
and so tells whether a feature matters beyond these. Intervals are 95%, normal, each by itself: with twenty features one
is expected to exclude 0 by chance, which is one reason for the thresholds below.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.causal.non_members import Pool, draw_pool, shares
from inversionview.causal.verdicts import difference, feature_verdict, whole_verdict
from inversionview.errors import UserError
from inversionview.preimage.sources.proposals import query_generator
from inversionview.probed.model import ProbedModel
from inversionview.progress import stage
from inversionview.reading.hypotheses import is_row, padded_row
from inversionview.reading.information import chosen_features, preimage_bits
from inversionview.results.estimates import FeatureBits
from inversionview.results.preimage import Preimage, Query
from inversionview.results.use import LEAST_INPUTS, MEMBERS_SHARE, Effect, FeatureUse, Use
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Feature, Task
from inversionview.tasks.outputs import PatchedRun, captured, predicting

_POOL = 40
"""Non-members that are looked through, for each that is wanted: rare values of features are among them."""


class _Measured(NamedTuple):
    """What some activations did."""

    by_output: Float[Tensor, "batch output"]
    """KL(clean ‖ patched) in nats."""
    same_top: Bool[Tensor, " batch"]

    def of(self, rows: Int[Tensor, " row"]) -> _Measured:
        return _Measured(self.by_output[rows], self.same_top[rows])


class _Members(NamedTuple):
    """The members that are tried."""

    tokens: Tokens
    positions: Positions
    weights: Float[Tensor, " batch"]
    """They add up to 1."""
    weighted: bool
    """Whether by the prior."""


@torch.no_grad()
def use(
    probed: ProbedModel,
    task: Task,
    preimage: Preimage,
    *,
    n_members: int = 500,
    n_others: int = 500,
    features: Sequence[str | Feature] | None = None,
    given: Sequence[str] = (),
    outputs: Sequence[str | int] | None = None,
    pool: Pool | None = None,
    seed: int = 0,
) -> Use:
    """Whether the query's activation, and each feature of it, is used where the answer is predicted.

    `preimage`: exact or sampled; `n_members` of its members are drawn by their weights, the query's own input left out,
    or all are taken. Non-members are drawn from the prior among the inputs that have the query's role (rule `any`: at
    the position of least distance): `n_others` at random, the `n_others` nearest of 40 times as many, and for each of
    `features` (default: all) as many with the query's value and with another. All of them have the query's values of
    the features `given`. `outputs`: roles or indices from the query's position on whose next token is looked at; by
    default those that predict the answer, and without an answer ahead the last position before the end. `pool`: inputs
    drawn from the prior that need not be drawn and run again, all of which share the features `given`.
    Raises `UserError` for counts below 1, unknown features, outputs that are not there or before the query's position,
    where no non-member is found, and for logits that are not finite.
    """
    for name, count in (("n_members", n_members), ("n_others", n_others)):
        if count < 1:
            raise UserError(f"{name} must be at least 1, such as 500, not {count}")
    query, chosen = preimage.query, chosen_features(task, features)
    held = chosen_features(task, [given] if isinstance(given, str) else given)
    looked = output_positions(task, query, outputs)
    run = PatchedRun(probed, torch.tensor(query.tokens), query.site, query.position, looked)

    def measured(tokens: Tokens, positions: Positions) -> _Measured:
        if not len(tokens):
            return _Measured(torch.empty(0, len(looked)).double(), torch.empty(0).bool())
        effects = run.effects(captured(probed, query.site, tokens, positions))
        if effects.kl.isnan().any():
            raise UserError("the logits are not finite: the probed model overflows there, so use a wider dtype")
        return _Measured(effects.kl, effects.same_top.all(dim=1))

    members = _members(preimage, n_members, query_generator(seed, "causal members", query))
    generator = query_generator(seed, "causal non-members", query)
    if pool is None:
        pool = draw_pool(probed, task, preimage, held, n=_POOL * n_others, generator=generator)
    groups = _groups(preimage, chosen, pool, n_others)
    wanted = torch.unique(torch.cat([rows for pair in groups.values() for rows in pair]))
    place = torch.full((len(pool.tokens),), -1).scatter(0, wanted, torch.arange(len(wanted)))
    with stage("patch", len(wanted) + len(members.tokens)):
        others = measured(pool.tokens[wanted], pool.positions[wanted])
        own = measured(members.tokens, members.positions)
    by_group = {name: (others.of(place[a]), others.of(place[b])) for name, (a, b) in groups.items()}
    bits = {one.name: one for one in preimage_bits(preimage, task, chosen)}
    inside, (nearest, random) = _effect(own, members.weights), map(_effect, by_group.pop(_ALL))
    apart, interval = difference(random, inside)
    verdict, why_not = whole_verdict(inside, random, apart, interval)
    uses = []
    for feature in chosen:
        group = _FeatureGroups(*by_group[feature.name], _stand_in(preimage, [feature, *held], pool, members, own))
        one = _feature_use(task, preimage, feature, bits.get(feature.name), group)
        words = feature_verdict(one, [other.name for other in held], len(pool.tokens))
        uses.append(dataclasses.replace(one, verdict=words[0], why_not=words[1]))
    return Use(
        study=query.study,
        input=query.needed_input("a causal check"),
        tokens=query.tokens,
        position=query.position,
        at=query.role,
        site=query.site,
        epsilon=preimage.epsilon,
        metric=preimage.metric,
        position_rule=preimage.position_rule,
        seed=seed,
        exact=preimage.exact,
        inside=preimage.n_inside,
        weighted=members.weighted,
        outputs=tuple(task.role(torch.tensor(query.tokens), int(t)) for t in looked),
        given=tuple(feature.name for feature in held),
        drawn=len(pool.tokens),
        members=inside,
        nearest=nearest,
        random=random,
        difference=apart,
        interval=interval,
        verdict=verdict,
        why_not=why_not,
        features=tuple(uses),
    )


def output_positions(task: Task, query: Query, outputs: Sequence[str | int] | None) -> Int[Tensor, " output"]:
    """Indices of the positions whose next token is looked at; see `use`. Raises `UserError` for one that cannot be."""
    tokens = torch.tensor(query.tokens)[None]
    if outputs is None:
        return predicting(task, tokens, query.position)
    if not outputs or isinstance(outputs, str):
        raise UserError("outputs are a list of positions, such as ['=', 'A1']")
    positions = [int(task.position_of(tokens, at)[0]) if isinstance(at, str) else at for at in outputs]
    length = len(task.token_strings(tokens[0]))
    for at, position in zip(outputs, positions, strict=True):
        if not query.position <= position < length:
            raise UserError(
                f"an output must be a position of {query.input} from {query.role} on, where the activation is "
                f"replaced, and {at!r} is none"
            )
    return torch.tensor(positions)


def _members(preimage: Preimage, n: int, generator: Generator) -> _Members:
    """At most `n` members; the query's own input, whose activation changes nothing, is none of them."""
    other = preimage.inside & ~is_row(preimage.tokens, preimage.query.tokens)
    weighted = not np.isnan(preimage.weights).any()
    weights = np.where(other, preimage.weights if weighted else 1.0, 0.0)
    rows = np.flatnonzero(weights > 0)
    kept = torch.from_numpy(weights[rows]).double()
    if len(rows) > n:
        rows = rows[torch.multinomial(kept, n, replacement=True, generator=generator).numpy()]
        kept = torch.ones(n, dtype=torch.float64)
    tokens, positions = (torch.from_numpy(column[rows]).long() for column in (preimage.tokens, preimage.positions))
    return _Members(tokens, positions, kept / kept.sum().clamp_min(1e-300), weighted)


_ALL = ""


def _groups(preimage: Preimage, features: Sequence[Feature], pool: Pool, n: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Rows of the pool: under `_ALL` the nearest and the random; for each feature, those sharing it and others."""
    _, first = np.unique(pool.tokens.numpy(), axis=0, return_index=True)
    distinct = torch.from_numpy(np.sort(first))
    nearest = distinct[pool.distances[distinct].argsort(stable=True)[:n]]
    groups = {_ALL: (nearest, torch.arange(min(n, len(pool.tokens))))}
    for feature in features:
        shared = shares([feature], preimage, pool.tokens, pool.positions)
        groups[feature.name] = (shared.nonzero()[:n, 0], (~shared).nonzero()[:n, 0])
    return groups


class _FeatureGroups(NamedTuple):
    sharing: _Measured
    differing: _Measured
    members: Effect | None
    """Of the members that share it, where they may stand in for non-members."""


def _stand_in(
    preimage: Preimage, shared: Sequence[Feature], pool: Pool, members: _Members, own: _Measured
) -> Effect | None:
    """Of the members that share a feature, if as good as all inputs that do are members: it is all that is encoded."""
    outside = int(shares(shared, preimage, pool.tokens, pool.positions).sum())
    inside = int(shares(shared, preimage, pool.members, pool.member_positions).sum())
    if outside >= LEAST_INPUTS or inside < max(LEAST_INPUTS, MEMBERS_SHARE * (inside + outside)):
        return None
    rows = shares(shared, preimage, members.tokens, members.positions).nonzero()[:, 0]
    weights = members.weights[rows]
    effect = _effect(own.of(rows), weights / weights.sum().clamp_min(1e-300))
    return effect if effect.n >= LEAST_INPUTS else None


def _feature_use(
    task: Task, preimage: Preimage, feature: Feature, bits: FeatureBits | None, group: _FeatureGroups
) -> FeatureUse:
    """One feature, without its verdict."""
    query = preimage.query
    code = int(feature.compute(padded_row(task, query), torch.tensor([query.position])))
    differing = _effect(group.differing)
    sharing = _effect(group.sharing) if group.members is None else group.members
    return FeatureUse(
        feature.name,
        feature.values[code],
        None if bits is None else bits.bits,
        None if bits is None else bits.of,
        sharing,
        differing,
        *difference(differing, sharing),
        verdict=None,
        by_members=group.members is not None,
    )


def _effect(measured: _Measured, weights: Float[Tensor, " batch"] | None = None) -> Effect:
    """Weighted means, with the interval of the weighted mean of independent draws."""
    n = len(measured.by_output)
    if not n:
        return Effect(0, None, None, None, None, ())
    kl = measured.by_output.amax(dim=1)
    w = torch.full((n,), 1 / n, dtype=torch.float64) if weights is None else weights
    mean, interval, square = float(w @ kl), None, float((w * w).sum())
    if n > 1 and square < 1:
        half = 1.96 * math.sqrt(float(w @ (kl - mean) ** 2) / (1 - square) * square)
        interval = (mean - half, mean + half)
    same = 1 - float(w @ (~measured.same_top).double())  # so 1 where all are, whatever the weights' rounding
    return Effect(n, mean, interval, float(kl.max()), same, tuple((w @ measured.by_output).tolist()))
