"""Estimates of how large a preimage is, and how much of it was found, from verified draws. Plain numpy.

What is estimated of a sample has a 95% interval, and says why it has none where the draws are too few to say anything.
Sizes and shares are prior mass; the number of inputs is given beside them. `docs/validation.md` reports how often each
interval held the truth where the truth is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from inversionview.imports import uncollected
from inversionview.results.estimates import (
    AtLeast,
    Completeness,
    Component,
    FeatureBits,
    Interval,
    Recall,
    Size,
    Source,
    Unseen,
)
from inversionview.results.importance import effective_size, inclusion, log_mixture, pareto_tail

LEAST_SIZE = 5.0
"""Effective number of members below which no size is given, and no bits."""
_Z, _Z_ONE_SIDED = 1.959964, 1.644854


class _Asked(Protocol):
    @property
    def tokens(self) -> tuple[int, ...]: ...


class Drawn(Protocol):
    """What of a `Preimage` the estimates are made of; its fields say what each is."""

    def __len__(self) -> int: ...
    @property
    def query(self) -> _Asked: ...
    @property
    def exact(self) -> bool: ...
    @property
    def domain_size(self) -> int | None: ...
    @property
    def domain_mass(self) -> float: ...
    @property
    def components(self) -> Sequence[Component]: ...
    @property
    def sources(self) -> Sequence[Mapping[str, int]]: ...
    @property
    def tokens(self) -> Int[np.ndarray, "candidate pos"]: ...
    @property
    def inside(self) -> Bool[np.ndarray, " candidate"]: ...
    @property
    def independent(self) -> Bool[np.ndarray, " candidate"]: ...
    @property
    def effective_size(self) -> float: ...
    @property
    def member_shares(self) -> Float[np.ndarray, " candidate"]: ...
    @property
    def log_prior(self) -> Float[np.ndarray, " candidate"] | None: ...
    @property
    def log_densities(self) -> Float[np.ndarray, "component candidate"] | None: ...


class ShareEstimate(NamedTuple):
    """A share between 0 and 1; None where `why_not` says why."""

    share: float | None
    interval: Interval | None
    n: int
    """Observations behind it."""
    why_not: str | None = None


class LowerBound(NamedTuple):
    """A number of inputs that the preimage holds at least, with 95% confidence; None where `why_not` says why."""

    inputs: float | None
    bound: float | None
    between: tuple[str, str] | None
    why_not: str | None = None


class Weights(NamedTuple):
    """How much each candidate counts for, and how many members of equal weight would be as good."""

    shares: Float[np.ndarray, " candidate"]
    """They add up to 1; 0 for what is no member, all NaN where no density is known."""
    effective_size: float
    """Of an exact preimage, the number of its members."""


def independent(preimage: Drawn) -> Bool[np.ndarray, " candidate"]:
    """Which candidates were drawn by a source whose density is known."""
    names = {component.source for component in preimage.components}
    return np.array([not names.isdisjoint(times) for times in preimage.sources], dtype=bool)


def member_weights(preimage: Drawn) -> Weights:
    """Weights by which a sum over members estimates a mean over the preimage under the prior.

    In an exact preimage in proportion to the prior. In a sampled one in proportion to p(x) over the probability that x
    was drawn at all; members that only sources of unknown density drew have weight 0.
    """
    if preimage.log_prior is None or not (preimage.exact or preimage.components):
        return Weights(np.full(len(preimage), np.nan), 0.0)
    raw = np.zeros(len(preimage))
    usable = preimage.inside if preimage.exact else preimage.inside & preimage.independent
    raw[usable] = np.exp(preimage.log_prior[usable])
    if preimage.exact:
        return Weights(raw / max(raw.sum(), np.finfo(float).tiny), float(usable.sum()))
    assert preimage.log_densities is not None
    drawn = inclusion(preimage.log_densities[:, usable], [component.n for component in preimage.components])
    raw[usable] /= drawn
    return Weights(raw / max(raw.sum(), np.finfo(float).tiny), effective_size(raw[usable], drawn))


def size(preimage: Drawn) -> Size:
    """Estimate the size of a preimage from its members, by Horvitz and Thompson (1952); of an exact one, give it.

    Each distinct member counts for one over the probability that it was drawn at all; the standard error allows for
    every source's number of draws being fixed. The interval is normal in the logarithm, and is cut to what is certain:
    no fewer than were found, no more than there are.
    """
    members = preimage.inside if preimage.exact else preimage.inside & preimage.independent
    if preimage.exact:
        n = float(members.sum())
        bits = _bits(preimage, float(np.exp(_log_prior(preimage)[members]).sum()))
        return Size(n, None, bits, None, n, None, None if n else "no input is inside ε", preimage.domain_size)
    if not preimage.components or preimage.log_densities is None:
        return _no_size(preimage, "no source of these draws has a known density")
    if not np.isfinite(_log_prior(preimage)[members]).all():
        return _no_size(preimage, "the task's prior has no density")
    if not members.any():
        return _no_size(preimage, "no draw is inside ε")
    counts = [component.n for component in preimage.components]
    drawn = inclusion(preimage.log_densities[:, members], counts)
    prior = np.exp(_log_prior(preimage)[members])
    tail = pareto_tail(np.repeat(_draw_weights(preimage, members), draw_counts(preimage)[:, members].sum(axis=0)))
    k = None if math.isnan(tail.k) else tail.k
    effective = preimage.effective_size
    if _only_the_query(preimage, members):
        return _no_size(preimage, "no member but the query itself was drawn", effective, k)
    if effective < LEAST_SIZE:
        return _no_size(
            preimage,
            f"the weights of the members are too uneven: they are worth {effective:.1f} members of equal weight, where "
            f"{LEAST_SIZE:g} are the least; draw more, or at a higher temperature",
            effective,
            k,
        )
    mass, inputs = float((prior / drawn).sum()), float((1 / drawn).sum())
    error, count_error = (_relative_error(preimage, given / drawn, drawn) for given in (prior, np.ones_like(prior)))
    most = preimage.domain_size or math.inf
    mass, inputs = min(mass, preimage.domain_mass), min(inputs, most)  # an estimate may be more than there is
    low = max(math.exp(-_Z * error), float(prior.sum()) / mass)
    high = min(math.exp(_Z * error), preimage.domain_mass / mass)
    bits = _bits(preimage, mass)
    fewest = max(inputs * math.exp(-_Z * count_error), float(members.sum()))
    return Size(
        inputs,
        Interval(fewest, min(inputs * math.exp(_Z * count_error), most)),
        bits,
        Interval(bits - math.log2(high), bits - math.log2(low)),
        effective,
        k,
        None,
        preimage.domain_size,
    )


def reach(preimage: Drawn) -> ShareEstimate:
    """Share of the preimage's prior mass that was found: mass of the distinct members over the size estimate."""
    if preimage.exact:
        return ShareEstimate(1.0, None, int(preimage.inside.sum()))
    estimate = size(preimage)
    members = preimage.inside & preimage.independent
    if estimate.bits is None or estimate.bits_interval is None:
        return ShareEstimate(None, None, int(members.sum()), estimate.why_not)
    mass = float(np.exp(_log_prior(preimage)[members]).sum()) / preimage.domain_mass
    low, high = (min(1.0, mass * 2**bits) for bits in estimate.bits_interval)
    return ShareEstimate(min(1.0, mass * 2**estimate.bits), Interval(low, high), int(members.sum()))


def unseen_mass(preimage: Drawn, source: str | None = None) -> ShareEstimate:
    """Good-Turing: the probability that one more draw of a source, if it falls inside, is a member not yet drawn by it.

    A mass under the decoder's own distribution within the preimage, not under the prior. `source` is by default the
    first decoder among the components. The share of members drawn once among all draws inside, with the standard error
    of Esty (1983): √(f1 (1 - f1/n) + 2 f2) / n.
    """
    names = [component.source for component in preimage.components]
    decoders = [
        part.source for part in preimage.components if part.source not in ("prior", "bank") and not part.is_given
    ]
    own = decoders if source is None else [name for name in names if name == source]
    if not own:
        return ShareEstimate(None, None, 0, "no draws of a decoder without noise")
    times = draw_counts(preimage)[names.index(own[0]), preimage.inside]
    n, once, twice = int(times.sum()), int((times == 1).sum()), int((times == 2).sum())
    if not n:
        return ShareEstimate(None, None, 0, "no draw is inside ε")
    share = once / n
    # Where nothing or all was drawn once, the ends are those of the rule of three.
    error = _Z * math.sqrt(once * (1 - share) + 2 * twice) / n
    return ShareEstimate(
        share, Interval(max(0.0, min(share - error, 1 - 3 / n)), min(1.0, max(share + error, 3 / n))), n
    )


def recall(preimage: Drawn) -> ShareEstimate:
    """Share of the preimage, under the prior, that the other sources found, on the prior's own draws inside.

    Those draws are independent of what the others drew, and are a sample of the preimage: so the share of them that the
    others found too has a Clopper-Pearson interval.
    """
    names = [component.source for component in preimage.components]
    if "prior" not in names or len(names) < 2:
        return ShareEstimate(None, None, 0, "it takes draws from the prior, and others")
    counts = draw_counts(preimage)[:, preimage.inside]
    held_out = counts[names.index("prior")]
    others = np.delete(counts, names.index("prior"), axis=0).sum(axis=0) > 0
    n, hits = int(held_out.sum()), int(held_out[others].sum())
    if not n:
        return ShareEstimate(None, None, 0, "no draw from the prior is inside ε")
    return ShareEstimate(hits / n, clopper_pearson(hits, n), n)


def clopper_pearson(hits: float, n: float, confidence: float = 0.95) -> Interval:
    """Exact interval of a binomial share; `hits` and `n` need not be whole. Source: Clopper and Pearson 1934."""
    with uncollected():
        from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return Interval(low, high)


def at_least(preimage: Drawn) -> LowerBound:
    """Capture and recapture: a lower bound of the size, from how many members two sources have in common.

    Sources that follow the same activation find the same members first, and so seem to have found more of the whole
    than they have: the estimate of Chapman (1951) is then too low, and its lower 95% limit is only given as a bound.
    Never below what was found. Sources that only draw what shares something with the query are left out: two that look
    for different things have less in common than by chance, and the estimate would be too high.
    """
    free = [i for i, component in enumerate(preimage.components) if not component.is_given]
    names = [preimage.components[i].source for i in free]
    everything = draw_counts(preimage)[:, preimage.inside] > 0
    caught = everything[free]
    order = np.argsort(-caught.sum(axis=1), kind="stable")[:2]
    if len(names) < 2 or not caught[order].any(axis=1).all():
        return LowerBound(None, None, None, "it takes two sources that found members")
    first, second = caught[order[0]], caught[order[1]]
    a, b, both = int(first.sum()), int(second.sum()), int((first & second).sum())
    estimate = (a + 1) * (b + 1) / (both + 1) - 1
    variance = (a + 1) * (b + 1) * (a - both) * (b - both) / ((both + 1) ** 2 * (both + 2))
    # On the logarithm, since the distribution of the estimate leans far to the right.
    bound = estimate * math.exp(-_Z_ONE_SIDED * math.sqrt(variance) / max(estimate, 1.0))
    return LowerBound(estimate, max(bound, float(everything.any(axis=0).sum())), (names[order[0]], names[order[1]]))


def completeness(preimage: Drawn) -> Completeness:
    """How much of the preimage was found, by every estimator that can say something."""
    if preimage.exact:
        return Completeness(1.0, None, None, None, None, None)
    reached, unseen, checked, bound = reach(preimage), unseen_mass(preimage), recall(preimage), at_least(preimage)
    return Completeness(
        reach=reached.share,
        interval=reached.interval,
        unseen=None if unseen.share is None else Unseen(unseen.share, unseen.interval),
        recall=None if checked.share is None else Recall(checked.share, checked.interval, checked.n),
        at_least=None if bound.bound is None else AtLeast(bound.bound, None),
        why_not=reached.why_not,
    )


def informative_bits(bits: Sequence[FeatureBits]) -> tuple[FeatureBits, ...]:
    """Bits about each feature that is not constant, those of which most is known first."""
    return tuple(sorted((feature for feature in bits if feature.of > 1e-9), key=lambda feature: -feature.share))


def source_draws(preimage: Drawn) -> tuple[Source, ...]:
    """What each source contributed: its draws, those inside, the members among them, and those no other source drew."""
    if preimage.exact:
        return ()
    inside, draws = preimage.inside, []
    for name in sorted({name for times in preimage.sources for name in times}):
        times = np.array([of.get(name, 0) for of in preimage.sources], dtype=np.int64)
        alone = np.array([len(of) == 1 and name in of for of in preimage.sources], dtype=bool)
        distinct, only = int((inside & (times > 0)).sum()), int((inside & alone).sum())
        draws.append(Source(name, int(times.sum()), int(times[inside].sum()), distinct, only))
    return tuple(draws)


def query_shares(preimage: Drawn) -> tuple[float, ...]:
    """For each token of the query, the share of the members, by weight, that have it at the same place."""
    tokens, weights = preimage.tokens, preimage.member_shares
    own = preimage.query.tokens[: tokens.shape[1]]
    everything = max(float(weights.sum()), np.finfo(float).tiny)
    shares = [float(weights[tokens[:, i] == token].sum()) / everything for i, token in enumerate(own)]
    return (*shares, *[0.0] * (len(preimage.query.tokens) - len(shares)))


def draw_counts(preimage: Drawn) -> Int[np.ndarray, "component candidate"]:
    """How many times each component drew each candidate."""
    names = [component.source for component in preimage.components]
    counts = [[times.get(name, 0) for times in preimage.sources] for name in names]
    return np.array(counts, dtype=np.int64).reshape(len(names), len(preimage))


def _no_size(preimage: Drawn, why: str, effective: float = 0.0, k: float | None = None) -> Size:
    return Size(None, None, None, None, effective, k, why, preimage.domain_size)


def _bits(preimage: Drawn, mass: float) -> float:
    return math.log2(preimage.domain_mass / mass) + 0.0 if mass > 0 else math.inf


def _log_prior(preimage: Drawn) -> Float[np.ndarray, " candidate"]:
    return np.full(len(preimage), np.nan) if preimage.log_prior is None else preimage.log_prior


def _only_the_query(preimage: Drawn, members: Bool[np.ndarray, " candidate"]) -> bool:
    own, rows = np.asarray(preimage.query.tokens), preimage.tokens[members]
    return len(rows) == 1 and len(own) > 0 and bool((rows[0, : len(own)] == own).all())


def _draw_weights(preimage: Drawn, members: Bool[np.ndarray, " candidate"]) -> Float[np.ndarray, " member"]:
    """p(x) over the density of all draws together, of the members."""
    assert preimage.log_densities is not None
    mixed = log_mixture(preimage.log_densities[:, members], [component.n for component in preimage.components])
    return np.asarray(np.exp(_log_prior(preimage)[members] - mixed))


def _relative_error(
    preimage: Drawn, weights: Float[np.ndarray, " member"], drawn: Float[np.ndarray, " member"]
) -> float:
    """Standard error of the sum of `weights`, those of the members drawn, over that sum.

    Were members drawn independently of each other, the variance would be that of Σ (1 - π) w². The number of draws of
    each source is fixed, which makes members compete; to first order in q that takes n_k (Σ w q_k (1 - π) / π)² away.
    """
    members = preimage.inside & preimage.independent
    assert preimage.log_densities is not None
    q, n = np.exp(preimage.log_densities[:, members]), np.array([component.n for component in preimage.components])
    competing = (n * (q @ (weights * (1 - drawn) / drawn)) ** 2).sum()
    variance = float(((1 - drawn) * weights**2).sum() - competing)
    return math.sqrt(max(variance, 0.0)) / float(weights.sum())
