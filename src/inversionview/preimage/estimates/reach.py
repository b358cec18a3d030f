"""How much of an exact preimage some draws of a decoder are expected to reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from inversionview.decoder.model import Decoder
from inversionview.decoder.scoring import score
from inversionview.errors import UserError
from inversionview.results.estimates import Interval
from inversionview.results.estimators import ShareEstimate
from inversionview.results.importance import inclusion
from inversionview.results.preimage import Preimage

_Z = 1.959964


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
    assert exact.log_prior is not None, "a task that enumerates has a prior with a density"
    rows = np.flatnonzero(exact.inside)
    whole = at_most is None or len(rows) <= at_most
    if not whole:
        rows = np.sort(np.random.default_rng(seed).choice(rows, at_most, replace=False))
    if not len(rows):
        return ShareEstimate(None, None, 0, "no input is inside ε")
    site = decoder.config.sites.index(exact.query.site)
    weights = np.exp(exact.log_prior[rows])
    reached = chance_to_be_drawn(decoder, exact.tokens[rows], np.log(weights), activation, site, draws=draws)
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
    *,
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
