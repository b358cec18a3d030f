"""What an activation knows about named features of the input, in bits: the entropy that it takes away.

`H(F) - H(F | B)`: the entropy of a feature under the prior, less its entropy within the preimage. Over queries its mean
is the mutual information of feature and activation, seen at the resolution ε; for one query it may be negative, where
the activation says something unusual, so the divergence `KL(F | B ‖ F)`, which never is, stands beside it. With rule
`same`, everything is over inputs that have the query's role.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.preimage.domain import domain_size, uniform_log_prior
from inversionview.progress import advance, stage
from inversionview.results.estimates import LEFT, FeatureBits
from inversionview.results.estimators import LEAST_SIZE
from inversionview.results.importance import inclusion
from inversionview.results.preimage import Preimage, Query
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Feature, Task
from inversionview.tasks.positions import eligible_role, last_eligible

PRIOR_DRAWS = 20_000
"""Draws from the prior that stand for it where the domain cannot be enumerated."""
_REPLICATES = 200


def entropy(mass: Float[np.ndarray, "*any value"]) -> Float[np.ndarray, "*any"]:
    """Entropy in bits of distributions given as masses, which need not add up to 1; 0 where there is no mass."""
    total = mass.sum(axis=-1, keepdims=True)
    share = mass / np.where(total > 0, total, 1)
    return np.asarray(-(share * np.log2(np.where(share > 0, share, 1))).sum(axis=-1) + 0.0)


def divergence(mass: Float[np.ndarray, "*any value"], base: Float[np.ndarray, " value"]) -> Float[np.ndarray, "*any"]:
    """`KL(mass ‖ base)` in bits, both normalised; infinite where `mass` has something that `base` lacks."""
    total = mass.sum(axis=-1, keepdims=True)
    share, base = mass / np.where(total > 0, total, 1), base / base.sum()
    with np.errstate(divide="ignore"):
        ratio = np.where(share > 0, np.log2(np.where(share > 0, share, 1)) - np.log2(base), 0.0)
    return np.asarray((share * np.where(share > 0, ratio, 0)).sum(axis=-1))


def feature_masses(
    features: Sequence[Feature], tokens: Tokens, positions: Positions, weights: Float[np.ndarray, "*any batch"] | None
) -> list[Float[np.ndarray, "*any value"]]:
    """Weight of every value of every feature among these inputs; `weights` may be several sets, None counts them."""
    masses: list[np.ndarray] = []
    for feature in features:
        codes, n = _codes(feature, tokens, positions), len(feature.values)
        if weights is None or weights.ndim == 1:
            masses.append(np.bincount(codes, weights=weights, minlength=n).astype(np.float64))  # whole numbers if empty
            continue
        one_hot = np.zeros((len(tokens), n))
        one_hot[np.arange(len(tokens)), codes] = 1
        masses.append(weights @ one_hot)
    return masses


def _codes(feature: Feature, tokens: Tokens, positions: Positions) -> Int[np.ndarray, " batch"]:
    return np.asarray(feature.compute(tokens, positions).long().numpy())


def codes_of(features: Sequence[Feature], tokens: Tokens, positions: Positions) -> Int[np.ndarray, "feature batch"]:
    """The value of every feature in each input, by its code."""
    return np.stack([_codes(feature, tokens, positions) for feature in features])


def chosen_features(task: Task, names: Iterable[str | Feature] | None = None) -> list[Feature]:
    """The features of these names, by default all; a feature that the task does not have is taken as it is.

    Raises `UserError` that lists the ones there are.
    """
    if names is None:
        return list(task.features.values())
    chosen = []
    for name in names:
        if isinstance(name, Feature):
            chosen.append(name)
            continue
        if name not in task.features:
            raise UserError(f"{task.name} has no feature {name!r}; its features are: {', '.join(task.features)}")
        chosen.append(task.features[name])
    return chosen


_bases: WeakKeyDictionary[Task, dict[str | None, dict[str, np.ndarray]]] = WeakKeyDictionary()


def base_masses(task: Task, role: str | None) -> dict[str, Float[np.ndarray, " value"]]:
    """The prior distribution of every feature, over inputs that have `role` (None: all inputs).

    Exact where the task can enumerate; elsewhere from 20,000 draws. Features that ask for a position get the role's, or
    without a role the last eligible one.
    """
    by_role = _bases.setdefault(task, {})
    if role not in by_role or by_role[role].keys() != task.features.keys():  # a task may be given more features later
        by_role[role] = _base_masses(task, role)
    return by_role[role]


_drawn: WeakKeyDictionary[Task, Tokens] = WeakKeyDictionary()


def prior_draws(task: Task) -> Tokens:
    """20,000 draws from the prior [draw, pos], always the same."""
    if task not in _drawn:
        _drawn[task] = task.sample(PRIOR_DRAWS, generator=torch.Generator().manual_seed(0))
    return _drawn[task]


def _base_masses(task: Task, role: str | None) -> dict[str, np.ndarray]:
    features = chosen_features(task)
    masses: dict[str, np.ndarray] = {}
    if role is not None and _all_have(task, role):  # features that ask for no position are then those of all inputs
        one = next(task.enumerate(1)) if task.size is not None else prior_draws(task)[:1]
        features = [feature for feature in features if _asks_where(feature, one)]
        masses |= base_masses(task, None)
    if features:
        masses |= _role_masses(task, role, features)
    return masses


def _role_masses(task: Task, role: str | None, features: Sequence[Feature]) -> dict[str, np.ndarray]:
    """The distribution of these features over all inputs that have `role`, in one pass."""
    drawn = prior_draws(task) if task.size is None else None
    alike = drawn is not None or uniform_log_prior(task) is not None
    totals = [np.zeros(len(feature.values)) for feature in features]
    with stage("reading the features of all inputs", task.size or PRIOR_DRAWS):
        for tokens in task.enumerate() if drawn is None else [drawn]:
            positions = last_eligible(task, tokens) if role is None else eligible_role(task, tokens, role)
            rows = positions >= 0
            having = tokens if bool(rows.all()) else tokens[rows]  # the same tensor is not read again
            weights = None if alike else task.log_prior(having).double().exp().numpy()
            for total, mass in zip(totals, feature_masses(features, having, positions[rows], weights), strict=True):
                total += mass
            advance(len(tokens))
    return {feature.name: total / total.sum() for feature, total in zip(features, totals, strict=True)}


def _all_have(task: Task, role: str) -> bool:
    if task.size is None:
        return bool((eligible_role(task, prior_draws(task), role) >= 0).all())
    return domain_size(task, role).inputs == task.size


def _asks_where(feature: Feature, tokens: Tokens) -> bool:
    """Whether a feature looks at positions: whatever is done with these fails."""
    nothing: Any = object()
    try:
        return not isinstance(feature.compute(tokens, nothing), Tensor)
    except Exception:
        return True


def total_variation(a: Float[np.ndarray, " value"], b: Float[np.ndarray, " value"]) -> float:
    """Half the sum of the differences of two distributions given as masses; 1 where one of them has none."""
    if not (a.sum() > 0 and b.sum() > 0):
        return 1.0
    return 0.5 * float(np.abs(a / a.sum() - b / b.sum()).sum())


def _bases_of(task: Task, role: str | None, features: Sequence[Feature]) -> dict[str, Float[np.ndarray, " value"]]:
    """The prior distributions of some features; those that are not the task's own take a pass over all inputs."""
    base, foreign = base_masses(task, role), [one for one in features if task.features.get(one.name) is not one]
    return base | _role_masses(task, role, foreign) if foreign else base


def preimage_bits(preimage: Preimage, task: Task, features: Iterable[str | Feature] | None = None) -> list[FeatureBits]:
    """What the activation of one query knows about each feature; empty where a sample is worth too few members.

    That is fewer than `LEAST_SIZE` of equal weight, by which no size is given either.

    Of an exact preimage, exact. Of a sampled one, from the weighted members: the entropy gets the correction of Miller
    and Madow (1955) with the effective number of members, and the interval is 1.96 standard deviations of a bootstrap
    in which each member's weight is as uncertain as its chance to have been missed.
    """
    chosen = chosen_features(task, features)
    weights = preimage.weights
    rows = np.flatnonzero(weights > 0)
    if not len(rows) or not (preimage.exact or preimage.effective_size >= LEAST_SIZE):
        return []
    tokens, positions = (torch.from_numpy(column[rows]).long() for column in (preimage.tokens, preimage.positions))
    base = _bases_of(task, preimage.query.role if preimage.position_rule == "same" else None, chosen)
    masses = feature_masses(chosen, tokens, positions, weights[rows])
    if preimage.exact:
        bits = [_feature_bits(f.name, mass, base[f.name]) for f, mass in zip(chosen, masses, strict=True)]
    else:
        replicates = feature_masses(chosen, tokens, positions, _replicates(preimage, rows))
        size = preimage.effective_size
        bits = [
            _feature_bits(f.name, mass, base[f.name], size, copies)
            for f, mass, copies in zip(chosen, masses, replicates, strict=True)
        ]
    return [_told(one, f, mass, preimage.query) for one, f, mass in zip(bits, chosen, masses, strict=True)]


def with_values(bits: Sequence[FeatureBits], preimage: Preimage, task: Task) -> list[FeatureBits]:
    """Bits of one preimage with the query's values, and those that are left among its members."""
    features, rows = [task.features[one.name] for one in bits], np.flatnonzero(preimage.member_shares > 0)
    tokens, positions = (torch.from_numpy(column[rows]).long() for column in (preimage.tokens, preimage.positions))
    masses = feature_masses(features, tokens, positions, preimage.member_shares[rows])
    return [_told(*row, preimage.query) for row in zip(bits, features, masses, strict=True)]


def _told(bits: FeatureBits, feature: Feature, mass: Float[np.ndarray, " value"], query: Query) -> FeatureBits:
    most = [int(code) for code in np.argsort(-mass, kind="stable")[:LEFT] if mass[code] > 0]
    left = tuple((feature.values[code], float(mass[code] / mass.sum())) for code in most)
    return dataclasses.replace(bits, value=own_value(feature, query), about=feature.about, left=left)


def own_value(feature: Feature, query: Query) -> str:
    """The query's own value of a feature; empty behind a vector."""
    if query.input is None:
        return ""
    return feature.values[int(feature.compute(torch.tensor([query.tokens]), torch.tensor([query.position])))]


def _replicates(preimage: Preimage, rows: Int[np.ndarray, " member"]) -> Float[np.ndarray, "replicate member"]:
    """Weights as other draws might have made them: each varied by √(1 - π), π being its chance to be drawn."""
    assert preimage.log_densities is not None
    drawn = inclusion(preimage.log_densities[:, rows], [component.n for component in preimage.components])
    noise = np.random.default_rng(preimage.seed).exponential(size=(_REPLICATES, len(rows))) - 1
    return np.asarray(preimage.weights[rows] * (1 + np.sqrt(1 - drawn) * noise))


def _feature_bits(
    name: str,
    mass: Float[np.ndarray, " value"],
    base: Float[np.ndarray, " value"],
    size: float | None = None,
    copies: Float[np.ndarray, "replicate value"] | None = None,
) -> FeatureBits:
    of, left = float(entropy(base)), float(entropy(mass))
    apart = float(divergence(mass, base))
    if size is None or copies is None:
        return FeatureBits(name, of - left, of, apart, None)
    # In nats the correction is (values seen - 1) / 2n; what is certain has an infinite size and none.
    left = float(min(left + (np.count_nonzero(mass) - 1) / (2 * size * np.log(2)), np.log2(len(base))))
    spread = 1.96 * float(entropy(copies).std())
    return FeatureBits(name, of - left, of, apart, (of - left - spread, of - left + spread))
