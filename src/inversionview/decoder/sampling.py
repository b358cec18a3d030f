"""Drawing inputs from a decoder, with a cache of keys and values, for many activations at once.

Also samples that repeat each other less, in two ways: `sample_unrepeated` is that of the paper for factual recall
(InversionView, arXiv 2405.17653), where a token is barred from a position; `sample_varied` is our own, which makes
tokens improbable that many earlier samples hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversionview.decoder.model import Decoder, until_end
from inversionview.decoder.tokens import SameTokens
from inversionview.progress import advance, still_wanted
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Task

MAX_ROWS = 8192
"""Rows generated together; bounds the memory of the cache."""


class Samples(NamedTuple):
    """Inputs drawn for each query, and their log-probability at temperature 1 given the query's own activation."""

    tokens: Int[Tensor, "query candidate pos"]
    log_prob: Float[Tensor, "query candidate"]
    token_log_probs: Float[Tensor, "query candidate pos temperature"] | None = None
    """Of each token given those before it, at each temperature that was asked for: those that picked it, for nothing
    more. None of activations that are not the query's own, and in other tokens than the decoder's."""

    @classmethod
    def joined(cls, parts: Sequence[Samples], dim: int) -> Samples:
        """Samples of more queries (0), or more of each (1)."""
        scores = [part.token_log_probs for part in parts if part.token_log_probs is not None]
        return cls(
            torch.cat([part.tokens for part in parts], dim=dim),
            torch.cat([part.log_prob for part in parts], dim=dim),
            torch.cat(scores, dim=dim) if scores else None,
        )


class _Given(NamedTuple):
    """What rows are drawn for: activations, their sites, and what is added to the logits of some queries."""

    activations: Float[Tensor, "row d_activation"]
    site: Int[Tensor, " row"]
    query: Int[Tensor, " row"]
    """The row of `bias` that each activation takes."""
    bias: Float[Tensor, "query *pos class"] | None


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
    bias: Float[Tensor, "query *pos class"] | None = None,
    own_tokens: bool = False,
    scored: Sequence[float] = (),
    generator: torch.Generator | Sequence[torch.Generator],
) -> Samples:
    """Draw `n` inputs for each query from `q(x | z, s)`, in the task's tokens or in the decoder's own.

    `noise` adds Gaussian noise to each draw's activation, in units of the site's root mean square deviation a
    dimension; `cosine` takes another one for each draw, as `at_cosine` does; `bias` is added to the logits of each
    step, over the decoder's classes, or of each position by its own; where it leaves nothing, it is not added. The
    density of such draws is not known, so their `log_prob` is what the activation itself gives them.
    Of a decoder with other tokens than the task's, a draw that is no text in canonical tokens is a row that holds
    nothing, and its `log_prob` is NaN.
    `scored`: the temperatures of `token_log_probs`.
    With a sequence of generators, one a query, what is drawn for a query does not depend on the queries beside it.

    Source: InversionView (arXiv 2405.17653), appendix on sampling.
    """
    generators = [generator] * len(activations) if isinstance(generator, torch.Generator) else generator
    activations = decoder.coordinates(activations, site_index)
    # All randomness is drawn first, and on the CPU, so that neither chunks nor devices change the result.
    steps = decoder.config.max_length - 1
    uniforms = torch.stack([torch.rand(n, steps, generator=g) for g in generators]).to(activations.device)
    rows = min(MAX_ROWS, decoder.rows_together)
    queries, draws = max(1, rows // n), min(n, rows)
    drawn = []
    for start in range(0, len(activations), queries):
        part = slice(start, start + queries)
        z, site = activations[part], site_index[part]
        moved = _moved(decoder, z, site, n, noise=noise, cosine=cosine, generators=generators[part])
        given = _Given(z, site, torch.arange(len(z), device=z.device), None if bias is None else bias[part])
        some = []
        for rows_of in (slice(i, i + draws) for i in range(0, n, draws)):
            of_draws = None if moved is None else moved[:, rows_of]
            some.append(_draw(decoder, given, uniforms[part, rows_of], temperature, of_draws, scored=scored))
        drawn.append(Samples.joined(some, dim=1))
    samples = Samples.joined(drawn, dim=0)
    return samples if own_tokens else in_task_tokens(decoder, samples)


def in_task_tokens(decoder: Decoder, own: Samples) -> Samples:
    """Samples in a decoder's own tokens, in the task's."""
    rows, are_texts = decoder.adapter.to_task(own.tokens.flatten(0, 1))
    log_prob = own.log_prob.masked_fill(~are_texts.view(own.log_prob.shape), torch.nan)
    same = isinstance(decoder.adapter, SameTokens)
    return Samples(rows.view(*own.log_prob.shape, -1), log_prob, own.token_log_probs if same else None)


def at_cosine(
    z: Float[Tensor, " d_activation"], cosine: float, n: int, generator: torch.Generator
) -> Float[Tensor, "candidate d_activation"]:
    """`n` random vectors at this cosine from `z`, uniform among the directions there are.

    Their norms are that of `z` times e to a number uniform between -1 and 1, drawn apart from the directions.
    """
    exact = z.double().cpu()
    length = exact.norm()
    along = exact / length
    across = torch.randn(n, len(exact), generator=generator, dtype=torch.float64)
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
    *,
    noise: float,
    cosine: float | None,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "query candidate d_activation"] | None:
    """The activation of each draw where it is not the query's own."""
    # Random numbers for a site's own width alone, so that none depend on how wide the sites beside it are.
    widths = [decoder.config.width(index) for index in site.tolist()]
    moved = None
    if cosine is not None:
        turned = [at_cosine(one[:w], cosine, n, g) for one, w, g in zip(z, widths, generators, strict=True)]
        moved = _stacked(turned, z.shape[1])
    if noise != 0.0:
        scale = noise * decoder.trunk.scale[site, None, None]
        jitter = [torch.randn(n, w, generator=g) for w, g in zip(widths, generators, strict=True)]
        moved = (z[:, None] if moved is None else moved) + scale * _stacked(jitter, z.shape[1]).to(scale.device)
    return moved


def _stacked(rows: Sequence[Float[Tensor, "candidate _"]], width: int) -> Float[Tensor, "query candidate width"]:
    return torch.stack([F.pad(row, (0, width - row.shape[1])) for row in rows])


def _draw(
    decoder: Decoder,
    given: _Given,
    uniforms: Float[Tensor, "query candidate step"],
    temperature: float,
    moved: Float[Tensor, "query candidate d_activation"] | None,
    *,
    scored: Sequence[float],
) -> Samples:
    """As many draws of each query as there are rows of uniforms, all together; `moved` are their activations."""
    queries, n, steps = uniforms.shape
    scores = None
    if moved is None:
        tokens, log_prob, scores = _generate(decoder, given, uniforms.flatten(0, 1), temperature, scored)
    else:
        query = given.query.repeat_interleave(n)
        each = _Given(moved.flatten(0, 1), given.site[query], query, given.bias)
        tokens, _, _ = _generate(decoder, each, uniforms.flatten(0, 1), temperature)
        log_prob = decoder.own_log_probs(tokens, given.activations[query], each.site).sum(dim=1)
    advance(queries * n)
    scores = None if scores is None or not scored else scores.view(queries, n, steps + 1, -1)
    return Samples(tokens.view(queries, n, steps + 1), log_prob.view(queries, n), scores)


def _generate(
    decoder: Decoder,
    given: _Given,
    uniforms: Float[Tensor, "row step"],
    temperature: float,
    scored: Sequence[float] = (),
) -> tuple[Int[Tensor, "row pos"], Float[Tensor, " row"], Float[Tensor, "row pos temperature"]]:
    """Ancestral sampling by inverting the cumulative distribution at the given uniforms, equally many an activation.

    Draws that began alike are one branch: the decoder runs each branch once, and it splits where the draws part.
    """
    config, device = decoder.config, uniforms.device
    rows, copies = len(uniforms), len(uniforms) // len(given.activations)
    cache, query = decoder.start_cache(given.activations, given.site), given.query
    branch = torch.arange(rows, device=device) // copies
    tokens = torch.full((rows, config.max_length), config.pad, device=device)
    tokens[:, 0] = config.begin
    begun = tokens[::copies].clone()
    log_prob = torch.zeros(rows, device=device)
    scores = torch.zeros(rows, config.max_length, len(scored), device=device)
    running = torch.ones(rows, dtype=torch.bool, device=device)
    for position in range(config.max_length - 1):
        still_wanted()
        logits = decoder.step(begun[:, : position + 1], cache)
        leaning = logits if given.bias is None else _biased(logits, given.bias[query], position + 1)
        # In fp64, since a 50,000-way cumulative sum in fp32 loses the rare tokens.
        cumulative = (leaning / temperature).softmax(-1).double().cumsum(-1)
        # Not <: a uniform of 0 must not pick a first token whose probability is 0.
        below = cumulative[branch] <= uniforms[:, position, None] * cumulative[branch, -1:]
        classes = below.sum(-1).clamp(max=config.classes - 1)
        rest = _rest(cumulative, branch, classes, uniforms[:, position]) if config.others else None
        picked = decoder.classes.tokens(classes, rest)
        within = decoder.classes.chosen(picked).within
        log_probs = logits.log_softmax(-1)
        log_prob += running * (log_probs[branch, classes] + within)
        for i, other in enumerate(scored):
            at_other = log_probs if other == 1 else (logits / other).log_softmax(-1)
            scores[:, position + 1, i] = running * (at_other[branch, classes] + within)
        picked = torch.where(running, picked, config.pad)
        tokens[:, position + 1] = picked
        running = running & (picked != config.end)
        if not running.any():
            break
        before = len(begun)
        children, branch = torch.unique(branch * config.vocab_size + picked, return_inverse=True)
        parents, latest = children // config.vocab_size, children % config.vocab_size
        begun, query = begun[parents], query[parents]
        begun[:, position + 1] = latest
        if len(parents) > before:  # each branch has a child, so as many children means: none has split
            cache = decoder.body.select(cache, parents)
    return tokens, log_prob, scores


def _biased(
    logits: Float[Tensor, "branch class"], bias: Float[Tensor, "branch *pos class"], position: int
) -> Float[Tensor, "branch class"]:
    """Logits with what is added to them at a position; as they are where nothing would be left."""
    biased = logits + (bias[:, position] if bias.dim() == 3 else bias)
    return torch.where(biased.isneginf().all(dim=-1, keepdim=True), logits, biased)


def _rest(
    cumulative: Float[Tensor, "branch class"], branch: Tensor, classes: Tensor, uniforms: Float[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """How far into its class each uniform number fell, from 0 to 1."""
    above = cumulative[branch, classes]
    below = torch.where(classes > 0, cumulative[branch, (classes - 1).clamp_min(0)], 0.0)
    return (uniforms * cumulative[branch, -1] - below) / (above - below)


ROUND = 32
"""Samples of a query that are drawn together, all by what those before them held."""
REPEATED = 0.1
"""A token is held back while more than this share of the earlier samples hold it."""
HELD_BACK = math.log(0.01)
"""What is added to its logit: its odds are then a hundredth."""
COMMON = 0.05
"""Tokens that this share of the task's inputs holds are common words (or commas, or digits), never held back."""
PRIOR_DRAWS = 1000


def common_tokens(decoder: Decoder, task: Task) -> Bool[Tensor, " class"]:
    """Which of a decoder's classes are common in the task's training inputs; begin, end and padding are."""
    tokens = task.sample(PRIOR_DRAWS, generator=torch.Generator().manual_seed(0), split="train")
    config, own = decoder.config, decoder.adapter.to_own(tokens).tokens
    common = _holding(decoder, own) >= COMMON * len(own)
    common[decoder.classes.of(torch.tensor([config.begin, config.end, config.pad]))] = True
    return common


def _holding(decoder: Decoder, own: Tokens) -> Int[Tensor, " class"]:
    """How many of some rows hold each of a decoder's classes."""
    end = int(decoder.classes.of(torch.tensor(decoder.config.end)))
    return holders(decoder.classes.of(own), end, decoder.config.classes)


def holders(tokens: Tokens, end: int, vocab_size: int) -> Int[Tensor, " vocab"]:
    """How many of some inputs hold each token, at whatever position and however often."""
    held = torch.where(until_end(tokens, end) > 0, tokens, tokens[:, :1])
    row = torch.arange(len(held), device=held.device)[:, None] * vocab_size
    return torch.bincount(torch.unique(row + held) % vocab_size, minlength=vocab_size)


@torch.no_grad()
def sample_varied(
    decoder: Decoder,
    activations: Float[Tensor, "query d_activation"],
    site_index: Positions,
    n: int,
    *,
    common: Bool[Tensor, " class"],
    cosines: Sequence[float] = (),
    generator: Sequence[torch.Generator],
) -> Samples:
    """Draw `n` inputs for each query in rounds, each of which holds back what those before it repeated.

    With `cosines`, each round takes activations at the next one of them from the query's, in turn. No draw's density is
    known; `log_prob` is as in `sample`. What is drawn for a query does not depend on the queries beside it.
    """
    device = activations.device
    held = torch.zeros(len(activations), decoder.config.classes, device=device)
    common = common.to(device)
    rounds: list[Samples] = []
    for start in range(0, n, ROUND):
        bias = torch.where((held > REPEATED * start) & ~common, HELD_BACK, 0.0) if start else None
        drawn = sample(
            decoder,
            activations,
            site_index,
            min(ROUND, n - start),
            cosine=cosines[len(rounds) % len(cosines)] if cosines else None,
            bias=bias,
            own_tokens=True,
            generator=generator,
        )
        held += torch.stack([_holding(decoder, rows) for rows in drawn.tokens])
        rounds.append(drawn)
    return in_task_tokens(decoder, Samples.joined(rounds, dim=1))


UNREPEATED_ROUND = 64
"""The paper's: samples of a query that are drawn together."""
OFTEN = 5
"""The paper's: a token is barred from a position where more than so many earlier samples have it."""
_COUNTED_VALUES = 2**25
"""Counts of queries that are held at once."""


@torch.no_grad()
def sample_unrepeated(
    decoder: Decoder,
    activations: Float[Tensor, "query d_activation"],
    site_index: Positions,
    n: int,
    *,
    frequent: Bool[Tensor, " class"],
    cosines: Sequence[float] = (),
    generator: Sequence[torch.Generator],
) -> Samples:
    """Draw `n` inputs for each query in rounds of 64, as the paper does for factual recall.

    A token that more than 5 samples of earlier rounds have at a position has probability 0 there from then on, unless
    it is `frequent`. Where all that can follow is barred, nothing is. Cosines and densities are as in `sample_varied`.
    """
    config, most = decoder.config, max(1, _COUNTED_VALUES // (decoder.config.max_length * decoder.config.classes))
    frequent = frequent.to(activations.device)
    parts = []
    for block in (slice(i, i + most) for i in range(0, len(activations), most)):
        z, site = activations[block], site_index[block]
        counts = torch.zeros(len(z), config.max_length, config.classes, dtype=torch.int32, device=z.device)
        rounds: list[Samples] = []
        for start in range(0, n, UNREPEATED_ROUND):
            drawn = sample(
                decoder,
                z,
                site,
                min(UNREPEATED_ROUND, n - start),
                cosine=cosines[len(rounds) % len(cosines)] if cosines else None,
                bias=torch.where((counts > OFTEN) & ~frequent, -torch.inf, 0.0) if start else None,
                own_tokens=True,
                generator=generator[block],
            )
            classes = decoder.classes.of(drawn.tokens).transpose(1, 2)
            counts.scatter_add_(2, classes, torch.ones_like(classes, dtype=torch.int32))
            rounds.append(drawn)
        parts.append(Samples.joined(rounds, dim=1))
    return in_task_tokens(decoder, Samples.joined(parts, dim=0))
