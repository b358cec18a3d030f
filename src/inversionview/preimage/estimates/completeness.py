"""How much of a preimage a sample has found, and how large the preimage is: estimates from verified draws.

Every estimate has a 95% interval, and says why it has none where the draws are too few to say anything. Sizes and
shares are prior mass; the number of inputs is given beside them. `docs/validation.md` reports how often each interval
held the truth where the truth is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from inversionview.decoder.model import Decoder
from inversionview.decoder.scoring import score
from inversionview.errors import UserError
from inversionview.preimage.estimates.importance import inclusion, log_mixture, pareto_tail
from inversionview.results.preimage import Preimage

LEAST_SIZE = 5.0
"""Effective number of members below which no size is given, and no bits."""
_Z, _Z_ONE_SIDED = 1.959964, 1.644854


class Interval(NamedTuple):
    """95% confidence."""

    low: float
    high: float


class SizeEstimate(NamedTuple):
    """The prior mass of a preimage, as a number of inputs and in bits; all None where `why_not` says why."""

    inputs: float | None
    """How many inputs the preimage holds."""
    interval: Interval | None
    bits: float | None
    """log2 of the domain's prior mass over the preimage's: what the activation says about the input."""
    bits_interval: Interval | None
    effective_size: float
    """The estimate is as good as one from this many members of equal weight."""
    pareto_k: float | None
    """Shape of the upper tail of the weights; above 0.7 a few draws carry much of the estimate. None: too few draws."""
    why_not: str | None = None


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


def size(preimage: Preimage) -> SizeEstimate:
    """Estimate the size of a preimage from its members, by Horvitz and Thompson (1952); of an exact one, give it.

    Each distinct member counts for one over the probability that it was drawn at all; the standard error allows for
    every source's number of draws being fixed. The interval is normal in the logarithm, and is cut to what is certain:
    no fewer than were found, no more than there are.
    """
    members = preimage.inside if preimage.exact else preimage.inside & preimage.independent
    if preimage.exact:
        n = float(members.sum())
        bits = _bits(preimage, float(np.exp(_log_prior(preimage)[members]).sum()))
        return SizeEstimate(n, None, bits, None, n, None, None if n else "no input is inside ε")
    if not preimage.components or preimage.log_densities is None:
        return _no_size("no source of these draws has a known density")
    if not np.isfinite(_log_prior(preimage)[members]).all():
        return _no_size("the task's prior has no density")
    if not members.any():
        return _no_size("no draw is inside ε")
    counts = [component.n for component in preimage.components]
    drawn = inclusion(preimage.log_densities[:, members], counts)
    prior = np.exp(_log_prior(preimage)[members])
    tail = pareto_tail(np.repeat(_draw_weights(preimage, members), draw_counts(preimage)[:, members].sum(axis=0)))
    k = None if math.isnan(tail.k) else tail.k
    effective = preimage.effective_size
    if _only_the_query(preimage, members):
        return _no_size("no member but the query itself was drawn", effective, k)
    if effective < LEAST_SIZE:
        return _no_size(
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
    return SizeEstimate(
        inputs,
        Interval(
            max(inputs * math.exp(-_Z * count_error), float(members.sum())),
            min(inputs * math.exp(_Z * count_error), most),
        ),
        bits,
        Interval(bits - math.log2(high), bits - math.log2(low)),
        effective,
        k,
    )


def reach(preimage: Preimage) -> ShareEstimate:
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


def unseen_mass(preimage: Preimage, source: str | None = None) -> ShareEstimate:
    """Good-Turing: the probability that one more draw of a source, if it falls inside, is a member not yet drawn by it.

    A mass under the decoder's own distribution within the preimage, not under the prior. `source` is by default the
    first decoder among the components. The share of members drawn once among all draws inside, with the standard error
    of Esty (1983): √(f1 (1 - f1/n) + 2 f2) / n.
    """
    names = [component.source for component in preimage.components]
    decoders = [part.source for part in preimage.components if part.source != "prior" and not part.is_given]
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


def recall(preimage: Preimage) -> ShareEstimate:
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
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return Interval(low, high)


def at_least(preimage: Preimage) -> LowerBound:
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


def expected_reach(
    exact: Preimage,
    decoder: Decoder,
    activation: Float[torch.Tensor, " d_activation"],
    draws: Sequence[tuple[float | None, int]],
    *,
    at_most: int | None = None,
    seed: int = 0,
) -> ShareEstimate:
    """Prior mass of an exact preimage that these draws are expected to reach: `Σ p (1 - Π_k (1 - q_k)^{n_k}) / Σ p`.

    `draws` are pairs of a temperature, or None for the prior, and a number. Exact, which takes the decoder's
    probability of every member; with `at_most`, from so many members drawn at random, with an interval.
    Raises `UserError` for a preimage that is not exact.
    """
    if not exact.exact:
        raise UserError("the expected reach is of an exact preimage: use exact_preimage")
    rows = np.flatnonzero(exact.inside)
    whole = at_most is None or len(rows) <= at_most
    if not whole:
        rows = np.sort(np.random.default_rng(seed).choice(rows, at_most, replace=False))
    if not len(rows):
        return ShareEstimate(None, None, 0, "no input is inside ε")
    site = decoder.config.sites.index(exact.query.site)
    weights = np.exp(_log_prior(exact)[rows])
    reached = chance_to_be_drawn(decoder, exact.tokens[rows], np.log(weights), activation, site, draws)
    share = float((weights * reached).sum() / weights.sum())
    if whole:
        return ShareEstimate(share, None, len(rows))
    error = _Z * float(reached.std(ddof=1)) / math.sqrt(len(rows))
    return ShareEstimate(share, Interval(max(0.0, share - error), min(1.0, share + error)), len(rows))


def chance_to_be_drawn(
    decoder: Decoder,
    tokens: Int[np.ndarray, "candidate pos"],
    log_prior: Float[np.ndarray, " candidate"],
    activation: Float[torch.Tensor, " d_activation"],
    site_index: int,
    draws: Sequence[tuple[float | None, int]],
) -> Float[np.ndarray, " candidate"]:
    """For each input, `1 - Π_k (1 - q_k)^{n_k}`; `draws` as in `expected_reach`."""
    order = np.lexsort(tokens.T[::-1])  # neighbours that begin alike are scored together
    temperatures = list(dict.fromkeys(t for t, _ in draws if t is not None)) or [1.0]
    by_token = score(decoder, torch.from_numpy(tokens[order]), activation, site_index, temperatures)
    scores = np.empty((len(temperatures), len(tokens)))
    scores[:, order] = by_token.double().sum(dim=2).numpy()
    densities = np.array([log_prior if t is None else scores[temperatures.index(t)] for t, _ in draws])
    return inclusion(densities, [n for _, n in draws])


def draw_counts(preimage: Preimage) -> Int[np.ndarray, "component candidate"]:
    """How many times each component drew each candidate."""
    names = [component.source for component in preimage.components]
    counts = [[times.get(name, 0) for times in preimage.sources] for name in names]
    return np.array(counts, dtype=np.int64).reshape(len(names), len(preimage))


def _no_size(why: str, effective: float = 0.0, k: float | None = None) -> SizeEstimate:
    return SizeEstimate(None, None, None, None, effective, k, why)


def _bits(preimage: Preimage, mass: float) -> float:
    return math.log2(preimage.domain_mass / mass) + 0.0 if mass > 0 else math.inf


def _log_prior(preimage: Preimage) -> Float[np.ndarray, " candidate"]:
    return np.full(len(preimage), np.nan) if preimage.log_prior is None else preimage.log_prior


def _only_the_query(preimage: Preimage, members: Bool[np.ndarray, " candidate"]) -> bool:
    own, rows = np.asarray(preimage.query.tokens), preimage.tokens[members]
    return len(rows) == 1 and bool((rows[0, : len(own)] == own).all())


def _draw_weights(preimage: Preimage, members: Bool[np.ndarray, " candidate"]) -> Float[np.ndarray, " member"]:
    """p(x) over the density of all draws together, of the members."""
    assert preimage.log_densities is not None
    mixed = log_mixture(preimage.log_densities[:, members], [component.n for component in preimage.components])
    return np.asarray(np.exp(_log_prior(preimage)[members] - mixed))


def _relative_error(
    preimage: Preimage, weights: Float[np.ndarray, " member"], drawn: Float[np.ndarray, " member"]
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
