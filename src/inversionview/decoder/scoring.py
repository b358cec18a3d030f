"""How probable given inputs are under a decoder, at several temperatures from one pass, each distinct prefix once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.decoder.model import Decoder, until_end
from inversionview.probed.prefixes import prefix_tree
from inversionview.progress import advance, still_wanted
from inversionview.shapes import Tokens

_BLOCK = 4096
"""Inputs scored together; bounds the memory of the cache."""


@torch.no_grad()
def score(
    decoder: Decoder,
    tokens: Tokens,
    activation: Float[Tensor, " d_activation"],
    site_index: int,
    temperatures: Sequence[float] = (1.0,),
) -> Float[Tensor, "temperature batch pos"]:
    """log q of each token given those before it, in nats and fp32, for one activation; on the CPU.

    0 at begin and after the first end token. At temperature T every step's logits are divided by T before they are
    normalised, as in sampling. Inputs in the order of their token ids share the most, and take the least time.
    """
    if not len(tokens):
        return torch.zeros(len(temperatures), *tokens.shape)
    own = decoder.adapter.to_own(tokens)
    device = next(decoder.parameters()).device
    site = torch.tensor([site_index], device=device)
    read = decoder.coordinates(activation.to(device)[None], site)
    parts = [
        _score_block(decoder, rows.to(device).long(), read, site, temperatures)
        for rows in torch.split(own.tokens, min(_BLOCK, decoder.rows_together))
    ]
    log_probs = torch.cat([part.cpu() for part in parts], dim=1)
    return decoder.adapter.spread(log_probs, own, tokens.shape[1])


def _score_block(
    decoder: Decoder, tokens: Tokens, read: Tensor, site_index: Tensor, temperatures: Sequence[float]
) -> Float[Tensor, "temperature batch pos"]:
    tree = prefix_tree(tokens)
    cache = decoder.start_cache(read, site_index)
    log_probs = torch.zeros(len(temperatures), *tokens.shape, device=tokens.device)
    scales = torch.tensor(temperatures, device=tokens.device)[:, None, None]
    before = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    for t in range(tokens.shape[1] - 1):
        still_wanted()
        rows, owner = tree.rows[t], tree.owners[t]
        if t and len(rows) > len(tree.rows[t - 1]):
            cache = decoder.body.select(cache, before[rows])
        logits = decoder.step(tokens[rows, : t + 1], cache)
        classes, within = decoder.classes.chosen(tokens[:, t + 1])
        log_probs[:, :, t + 1] = (logits / scales).log_softmax(-1)[:, owner, classes] + within
        before = owner
    advance(len(tokens))
    return log_probs.where(until_end(tokens, decoder.config.end) > 0, 0.0)
