"""Token colours: which tokens of a candidate the activation made more, or less, probable."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.decoder.model import Decoder
from inversionview.decoder.scoring import score
from inversionview.probed.model import ProbedModel
from inversionview.progress import stage
from inversionview.results.colors import TokenColors
from inversionview.results.preimage import Preimage
from inversionview.shapes import PerPosition, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task

BASELINE = (
    "Probability of each token under the decoder given this activation, minus given the activation at the begin token, "
    "as in the paper: the begin token is the same in every input and nothing came before it, so that activation says "
    "nothing about the input."
)
"""What the colours compare with, in words that a report can print."""


@torch.no_grad()
def token_colors(
    decoder: Decoder,
    probed: ProbedModel,
    task: Task,
    tokens: Tokens,
    *,
    site: Site | str,
    z_q: Float[Tensor, " width"] | None,
    log_probs: PerPosition | None = None,
) -> PerPosition:
    """Change of each token's probability, given the tokens before it, from the uninformed activation to `z_q`.

    In [-1, 1]; 0 at the begin token and after the end token. The uninformed activation is the one at the begin token.
    `log_probs` of the tokens given `z_q`, where they are known already, take its place.
    Source: InversionView, section 3 (token colours of its figures).
    """
    site = probed.site(site)
    index = decoder.config.sites.index(str(site))
    uninformed = _probabilities(decoder, tokens, _at_begin(probed, task, site), index)
    if log_probs is not None:
        return log_probs.exp() - uninformed
    assert z_q is not None
    return _probabilities(decoder, tokens, z_q, index) - uninformed


def colors_of(
    decoder: Decoder, probed: ProbedModel, task: Task, preimage: Preimage, z_q: Callable[[], Float[Tensor, " width"]]
) -> TokenColors:
    """Token colours of the candidates of a preimage, made as they are asked for; `z_q` gives the query activation.

    What the activation makes probable is known of candidates that were scored: only the uninformed pass is run.
    """
    tokens, site = torch.from_numpy(preimage.tokens), preimage.query.site
    known = torch.full(tokens.shape, torch.nan)
    if preimage.token_log_prob is not None:
        known = torch.from_numpy(preimage.token_log_prob).float()

    def make(rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row pos"]:
        wanted, log_probs = torch.from_numpy(rows), known[rows].clone()
        unscored = log_probs.isnan().any(dim=1)
        with stage("color", len(rows) + int(unscored.sum())):
            if unscored.any():
                scores = _log_probs(decoder, tokens[wanted][unscored], z_q(), decoder.config.sites.index(site))
                log_probs[unscored] = scores
            made = token_colors(decoder, probed, task, tokens[wanted], site=site, z_q=None, log_probs=log_probs)
        return np.asarray(made.double().numpy())

    return TokenColors((len(tokens), tokens.shape[1]), make)


_begins: WeakKeyDictionary[ProbedModel, dict[tuple[Site, int], Float[Tensor, " width"]]] = WeakKeyDictionary()


def _at_begin(probed: ProbedModel, task: Task, site: Site) -> Float[Tensor, " width"]:
    kept = _begins.setdefault(probed, {})
    key = (site, task.begin)
    if key not in kept:
        kept[key] = probed.capture(torch.tensor([[task.begin]]), [site], 0)[site][0].float().cpu()
    return kept[key]


def _probabilities(decoder: Decoder, tokens: Tokens, z: Float[Tensor, " width"], index: int) -> PerPosition:
    return _log_probs(decoder, tokens, z, index).exp()


def _log_probs(decoder: Decoder, tokens: Tokens, z: Float[Tensor, " width"], index: int) -> PerPosition:
    order = torch.from_numpy(np.lexsort(tokens.numpy().T[::-1]))  # neighbours that begin alike are scored together
    log_probs = torch.empty(tokens.shape)
    log_probs[order] = score(decoder, tokens[order], z, index)[0]
    return log_probs
