"""Token colours: which tokens of a candidate the activation made more, or less, probable."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.decoder.model import Decoder
from inversionview.decoder.scoring import score
from inversionview.probed.model import ProbedModel
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
    z_q: Float[Tensor, " width"],
) -> PerPosition:
    """Change of each token's probability, given the tokens before it, from the uninformed activation to `z_q`.

    In [-1, 1]; 0 at the begin token and after the end token. The uninformed activation is the one at the begin token.
    Source: InversionView, section 3 (token colours of its figures).
    """
    site = probed.site(site)
    begin = torch.tensor([[task.begin]])
    baseline = probed.capture(begin, [site], 0)[site][0].float().cpu()
    index = decoder.config.sites.index(str(site))
    informed, uninformed = (_probabilities(decoder, tokens, z, index) for z in (z_q, baseline))
    return informed - uninformed


def _probabilities(decoder: Decoder, tokens: Tokens, z: Float[Tensor, " width"], index: int) -> PerPosition:
    order = torch.from_numpy(np.lexsort(tokens.numpy().T[::-1]))  # neighbours that begin alike are scored together
    probabilities = torch.empty(tokens.shape)
    probabilities[order] = score(decoder, tokens[order], z, index)[0].exp()
    return probabilities
