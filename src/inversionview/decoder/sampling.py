"""Drawing inputs from a decoder, with a cache of keys and values, for many activations at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.decoder.model import Decoder
from inversionview.progress import advance, still_wanted
from inversionview.shapes import Positions

MAX_ROWS = 8192
"""Rows generated together; bounds the memory of the cache."""


class Samples(NamedTuple):
    """Inputs drawn for each query, and their log-probability at temperature 1 given the query's own activation."""

    tokens: Int[Tensor, "query candidate pos"]
    log_prob: Float[Tensor, "query candidate"]


@torch.no_grad()
def sample(
    decoder: Decoder,
    activations: Float[Tensor, "query d_activation"],
    site_index: Int[Tensor, " query"],
    n: int,
    *,
    temperature: float = 1.0,
    noise: float = 0.0,
    cosine: float | None = None,
    bias: Float[Tensor, "query own_vocab"] | None = None,
    generator: torch.Generator | Sequence[torch.Generator],
) -> Samples:
    """Draw `n` inputs for each query from `q(x | z, s)`.

    `noise` adds Gaussian noise to each draw's activation, in units of the site's root mean square deviation a
    dimension; `cosine` takes another one for each draw, as `at_cosine` does; `bias` is added to the logits of each
    step, of the decoder's own tokens. The density of such draws is not known, so their `log_prob` is what the
    activation itself gives them.
    Of a decoder with other tokens than the task's, a draw that is no text in canonical tokens is a row that holds
    nothing, and its `log_prob` is NaN.
    With a sequence of generators, one a query, what is drawn for a query does not depend on the queries beside it.

    Source: InversionView (arXiv 2405.17653), appendix on sampling.
    """
    if decoder.translation is not None:
        own = sample(
            decoder.body, activations, site_index, n, temperature=temperature, noise=noise, cosine=cosine, bias=bias,
            generator=generator,
        )  # fmt: skip
        return in_task_tokens(decoder, own)
    generators = [generator] * len(activations) if isinstance(generator, torch.Generator) else generator
    length = decoder.config.max_length
    # All randomness is drawn first, and on the CPU, so that neither chunks nor devices change the result.
    uniforms = torch.stack([torch.rand(n, length - 1, generator=g) for g in generators]).to(activations.device)
    rows = min(MAX_ROWS, decoder.rows_together)
    queries, draws = max(1, rows // n), min(n, rows)
    tokens, log_probs = [], []
    for start in range(0, len(activations), queries):
        part = slice(start, start + queries)
        moved = _moved(decoder, activations[part], site_index[part], n, noise, cosine, generators[part])
        drawn = [
            _draw(
                decoder,
                activations[part],
                site_index[part],
                uniforms[part, first : first + draws],
                None if moved is None else moved[:, first : first + draws],
                temperature,
                None if bias is None else bias[part],
            )
            for first in range(0, n, draws)
        ]
        tokens.append(torch.cat([one.tokens for one in drawn], dim=1))
        log_probs.append(torch.cat([one.log_prob for one in drawn], dim=1))
    return Samples(torch.cat(tokens), torch.cat(log_probs))


def in_task_tokens(decoder: Decoder, own: Samples) -> Samples:
    """Samples of a decoder's `body` in the task's tokens."""
    if decoder.translation is None:
        return own
    task_rows, known = decoder.translation.to_task(own.tokens.flatten(0, 1))
    log_prob = own.log_prob.masked_fill(~known.view(own.log_prob.shape), torch.nan)
    return Samples(task_rows.view(*own.log_prob.shape, -1), log_prob)


def at_cosine(
    z: Float[Tensor, " d_activation"], cosine: float, n: int, generator: torch.Generator
) -> Float[Tensor, "candidate d_activation"]:
    """`n` random vectors at this cosine from `z`, uniform among the directions there are.

    Their norms are that of `z` times e to a number uniform between -1 and 1, drawn apart from the directions.
    """
    wanted = z.double().cpu()
    length = wanted.norm()
    along = wanted / length
    across = torch.randn(n, len(wanted), generator=generator, dtype=torch.float64)
    across = across - (across @ along)[:, None] * along
    across = across / across.norm(dim=1, keepdim=True)
    norms = length * (2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1).exp()
    moved: Tensor = norms * (cosine * along + (1 - cosine**2) ** 0.5 * across)
    return moved.to(z)


def _moved(
    decoder: Decoder,
    z: Float[Tensor, "query d_activation"],
    site: Positions,
    n: int,
    noise: float,
    cosine: float | None,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "query candidate d_activation"] | None:
    """The activation of each draw where it is not the query's own."""
    moved = None
    if cosine is not None:
        moved = torch.stack([at_cosine(one, cosine, n, g) for one, g in zip(z, generators, strict=True)])
    if noise != 0.0:
        scale = noise * decoder.trunk.scale[site, None, None]
        jitter = torch.stack([torch.randn(n, z.shape[1], generator=g) for g in generators]).to(scale.device)
        moved = (z[:, None] if moved is None else moved) + scale * jitter
    return moved


def _draw(
    decoder: Decoder,
    z: Tensor,
    site: Positions,
    uniforms: Float[Tensor, "query candidate step"],
    moved: Float[Tensor, "query candidate d_activation"] | None,
    temperature: float,
    bias: Float[Tensor, "query vocab"] | None,
) -> Samples:
    """As many draws of each query as there are rows of uniforms, all together; `moved` are their activations."""
    queries, n, steps = uniforms.shape
    own = torch.arange(queries, device=z.device)
    if moved is None:
        drawn, log_prob = _generate(decoder, z, site, n, temperature, uniforms.flatten(0, 1), bias, own)
    else:
        owner = own.repeat_interleave(n)
        drawn, _ = _generate(
            decoder, moved.flatten(0, 1), site[owner], 1, temperature, uniforms.flatten(0, 1), bias, owner
        )
        log_prob = decoder.log_prob(drawn, z[owner], site[owner])
    advance(queries * n)
    return Samples(drawn.view(queries, n, steps + 1), log_prob.view(queries, n))


def _generate(
    decoder: Decoder,
    z: Tensor,
    site: Positions,
    copies: int,
    temperature: float,
    uniforms: Float[Tensor, "row step"],
    bias: Float[Tensor, "query vocab"] | None,
    owner: Positions,
) -> tuple[Int[Tensor, "row pos"], Float[Tensor, " row"]]:
    """Ancestral sampling by inverting the cumulative distribution at the given uniforms.

    Draws that began alike are one branch: the decoder runs each branch once, and it splits where the draws part.
    `owner` is the row of `bias` that each activation takes.
    """
    config = decoder.config
    rows = len(z) * copies
    cache = decoder.start_cache(z, site)
    branch = torch.arange(len(z), device=z.device).repeat_interleave(copies)
    tokens = torch.full((rows, config.max_length), config.pad, device=z.device)
    tokens[:, 0] = config.begin
    begun = tokens[torch.arange(len(z), device=z.device) * copies]
    log_prob = torch.zeros(rows, device=z.device)
    running = torch.ones(rows, dtype=torch.bool, device=z.device)
    for position in range(config.max_length - 1):
        still_wanted()
        logits = decoder.step(begun[:, : position + 1], cache)
        leaning = logits if bias is None else logits + bias[owner]
        # In fp64, since a 50,000-way cumulative sum in fp32 loses the rare tokens.
        cumulative = (leaning / temperature).softmax(-1).double().cumsum(-1)
        # Not <: a uniform of 0 must not pick a first token whose probability is 0.
        below = cumulative[branch] <= uniforms[:, position, None] * cumulative[branch, -1:]
        picked = below.sum(-1).clamp(max=config.vocab_size - 1)
        log_prob += running * logits.log_softmax(-1)[branch, picked]
        picked = torch.where(running, picked, config.pad)
        tokens[:, position + 1] = picked
        running = running & (picked != config.end)
        if not running.any():
            break
        before = len(begun)
        children, branch = (branch * config.vocab_size + picked).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        parents, latest = children // config.vocab_size, children % config.vocab_size
        begun, owner = begun[parents], owner[parents]
        begun[:, position + 1] = latest
        if len(parents) > before:  # each branch has a child, so as many children means: none has split
            cache = decoder.select(cache, parents)
    return tokens, log_prob
