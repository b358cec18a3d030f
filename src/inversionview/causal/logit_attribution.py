"""Direct logit attribution: what a site adds to the logits by itself, not through later blocks.

The last residual stream is a sum of parts, and with the final norm's scale frozen at the run's own, logits are linear
in it. So for a part v of a stream x, LayerNorm gives `W_U (γ (v - mean(v)) / σ(x))` and RMSNorm `W_U (γ v / rms(x))`.

- Biases: that of the final norm and the unembedding's are in no part, but in the constant. The attention's output bias
  is a part of its own, `attn0 bias`; the MLP's is in the MLP's output.
- Convention: a head's value in `tl` has lost what the biases of norm and values add, which is then in `attn0 bias`.
  Nothing else differs.
- Centring: LayerNorm takes away each part's mean over d_model. Logits are not centred over the vocabulary.
- Without the final norm's scale (`final_norm=False`), as InversionView's published code does it for IOI: what a part
  gives with TransformerLens' unembedding, which has the norm's weight and is centred over the vocabulary. For one input
  that is the same but for a positive factor and a constant: tokens come in the same order, and values are no logits.
- Where the model caps its logits (Gemma 2), they are those before the cap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.causal.contrast import Pairs
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.probed.readout import Readout, heads_in_stream
from inversionview.shapes import Activations
from inversionview.sites import Site

EXTREMES = 30
"""Tokens at either end that the paper looks at."""
_BLOCK_VALUES = 2**26
"""Numbers that are held at once for the parts of some streams."""

# Tokens and positions are annotated as plain tensors: what is wrong with them is the user's to mend, and checked there.


class Tokenwise(NamedTuple):
    """Some tokens of the vocabulary for each input, with what was added to their logits."""

    tokens: Int[Tensor, "batch n"]
    values: Float[Tensor, "batch n"]


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """What one part of the residual stream adds to every logit, for each input."""

    part: str
    """A site's short name, or `attn0 bias`."""
    values: Float[Tensor, "batch vocab"]
    """In logits."""

    def __repr__(self) -> str:
        inputs, tokens = self.values.shape
        return f"<LogitAttribution of {self.part}: {inputs:,} inputs by {tokens:,} tokens; see top, bottom and rank>"

    def top(self, n: int = 10) -> Tokenwise:
        """The tokens whose logits it raises most, or lowers least; ties are in no order."""
        return self._extreme(n, True)

    def bottom(self, n: int = 10) -> Tokenwise:
        """The tokens whose logits it lowers most, the lowest first."""
        return self._extreme(n, False)

    def rank(self, tokens: Int[Tensor, "batch ..."]) -> Int[Tensor, "batch ..."]:
        """How many tokens of the vocabulary it raises more than each of these: 0 for the highest.

        `tokens`: one or several an input. Raises `UserError` for a token that is not in the vocabulary.
        """
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.values.shape[1]:
            raise UserError(f"tokens to rank must be from 0 to {self.values.shape[1] - 1}")
        ids = tokens.reshape(len(tokens), -1).to(self.values.device)
        own = self.values.gather(1, ids)
        higher = torch.stack([(self.values > value[:, None]).sum(dim=1) for value in own.unbind(1)], dim=1)
        return higher.reshape(tokens.shape)

    def _extreme(self, n: int, largest: bool) -> Tokenwise:
        if not 1 <= n <= self.values.shape[1]:
            raise UserError(f"n must be from 1 to the {self.values.shape[1]} tokens of the vocabulary, not {n}")
        values, tokens = self.values.topk(n, dim=1, largest=largest)
        return Tokenwise(tokens, values)


class Extremes(NamedTuple):
    """Shares of inputs: one of their tokens is among those raised most, or lowered most; or is there the first name."""

    top: float
    top_first: float
    bottom: float
    bottom_first: float


def extremes(
    found: LogitAttribution, tokens: Int[Tensor, "batch spelling"], names: Int[Tensor, " name"], *, n: int = EXTREMES
) -> Extremes:
    """How often one of an input's tokens, such as its subject, is among the `n` that a part raises or lowers most.

    And how often it comes there before all others of `names`. `tokens`: in each of its spellings, -1 for one there is
    not. As in InversionView's published code, where `n` is 30. Raises `UserError` as `top` does.
    """
    shares: list[float] = []
    for some in (found.top(n).tokens.cpu(), found.bottom(n).tokens.cpu()):
        own = (some[:, :, None] == tokens.cpu()[:, None, :]).any(dim=2)
        named = torch.isin(some, names.cpu()) | own
        first = own.gather(1, named.long().argmax(dim=1, keepdim=True))[:, 0]
        shares += [float(own.any(dim=1).double().mean()), float(first.double().mean())]
    return Extremes(*shares)


@torch.no_grad()
def logit_attribution(
    probed: ProbedModel, tokens: Tensor, site: Site | str, positions: int | Tensor, *, final_norm: bool = True
) -> LogitAttribution:
    """What the activation at a site adds to the logits of the same position, directly.

    `tokens` `[batch, pos]`; `positions` an index or `[batch]`. Of a residual stream, all that was added up to there:
    the logit lens with the scale of the last layer. `final_norm=False` leaves that scale out, as published.
    Raises `UserError` as `capture` does, and for a model without head.
    """
    readout, site = Readout(probed), probed.site(site)
    if site not in probed.sites:
        raise UserError(f"{site} is not written in the basis of the residual stream, so it adds no logits directly")
    last = Site("resid_post", probed.n_layers - 1)
    scale = [last] if final_norm else []
    if site.kind == "head" and site.layer is not None:
        layer_heads = [Site("head", site.layer, head) for head in range(probed.n_heads)]
        activations = probed.capture(tokens, [*layer_heads, *scale], positions)
        heads = torch.stack([activations[head] for head in layer_heads])
        value = heads_in_stream(probed, site.layer, heads)[layer_heads.index(site)]
    else:
        activations = probed.capture(tokens, [site, *scale], positions)
        value = activations[site]
    added = readout.contributions(value, activations[last]) if final_norm else readout.unscaled(value)
    return LogitAttribution(str(site), added)


class StreamParts(NamedTuple):
    """What adds up to the last residual stream of each input, at one position."""

    names: tuple[str, ...]
    """In the order of a forward: `embed`, `pos_embed`, then for each layer `a0.0` ..., `attn0 bias`, `m0`."""
    values: Float[Tensor, "part batch d_model"]
    stream: Activations
    """The last residual stream itself."""


@torch.no_grad()
def stream_parts(probed: ProbedModel, tokens: Tensor, positions: int | Tensor) -> StreamParts:
    """All parts of the last residual stream at a position: embeddings, every head, attention biases, MLPs.

    Raises `UserError` as `capture` does.
    """
    last = Site("resid_post", probed.n_layers - 1)
    sites = [site for site in probed.sites if not site.kind.startswith("resid")]
    activations = probed.capture(tokens, [*sites, last], positions)
    parts = {str(site): activations[site] for site in sites if site.layer is None}
    for layer in range(probed.n_layers):
        heads = [Site("head", layer, head) for head in range(probed.n_heads)]
        added = heads_in_stream(probed, layer, torch.stack([activations[head] for head in heads]))
        parts |= {str(head): value for head, value in zip(heads, added, strict=True)}
        parts[f"attn{layer} bias"] = activations[Site("attn_out", layer)] - added.sum(dim=0)
        parts[f"m{layer}"] = activations[Site("mlp_out", layer)]
    return StreamParts(tuple(parts), torch.stack(list(parts.values())), activations[last])


class LogitParts(NamedTuple):
    """Everything that the logits at one position are the sum of."""

    parts: tuple[LogitAttribution, ...]
    constant: Float[Tensor, " vocab"]
    """From the biases of the final norm and the unembedding; the same for all inputs."""


@torch.no_grad()
def logit_parts(probed: ProbedModel, tokens: Tensor, positions: int | Tensor) -> LogitParts:
    """The logits at a position as a sum of all parts of the stream and a constant; `batch * vocab` numbers a part.

    Raises `UserError` as `logit_attribution` does.
    """
    readout = Readout(probed)
    names, values, stream = stream_parts(probed, tokens, positions)
    added = (readout.contributions(value, stream) for value in values)
    parts = tuple(LogitAttribution(*row) for row in zip(names, added, strict=True))
    return LogitParts(parts, readout.constant())


@dataclass(frozen=True)
class PartEffect:
    """What one part of the stream adds to a logit difference, over some inputs."""

    part: str
    """A site's short name, or `attn0 bias`."""
    mean: float
    """In logits."""
    se: float | None
    """Standard error of the mean over inputs; None for one input."""


@dataclass(frozen=True)
class DifferenceParts:
    """The logit difference of answer and contrast answer as a sum over everything that writes to the stream."""

    parts: tuple[PartEffect, ...]
    """In the order of a forward, every head by itself."""
    constant: float
    """From the unembedding's and the final norm's biases, in the mean."""
    n: int
    """Inputs."""

    @property
    def heads(self) -> tuple[PartEffect, ...]:
        """The heads alone, in the order of a forward."""
        return tuple(part for part in self.parts if part.part[0] == "a" and "." in part.part)


@torch.no_grad()
def attribute_heads(probed: ProbedModel, pairs: Pairs) -> DifferenceParts:
    """What every head, and every other part of the stream, adds directly to the difference of the answers' logits.

    Of the clean runs, where they predict their targets: beside `patch_effects` of the same pairs. Runs in blocks.
    Raises `UserError` for a model without head.
    """
    readout = Readout(probed)
    both = torch.stack([pairs.answer, pairs.contrast_answer], dim=1)
    values: list[Float[Tensor, "part some"]] = []
    names: tuple[str, ...] = ()
    for rows in torch.arange(len(pairs)).split(max(1, _BLOCK_VALUES // _stream_values(probed))):
        names, parts, stream = stream_parts(probed, pairs.clean[rows], pairs.clean_target[rows] - 1)
        values.append(readout.differences(parts, stream, both[rows]).double().cpu())
    biases = readout.constant().double().cpu()[both]
    by_part = torch.cat(values, dim=1)
    n = by_part.shape[1]
    errors = by_part.std(dim=1) / math.sqrt(n) if n > 1 else [None] * len(by_part)
    return DifferenceParts(
        tuple(
            PartEffect(name, float(mean), None if se is None else float(se))
            for name, mean, se in zip(names, by_part.mean(dim=1), errors, strict=True)
        ),
        float((biases[:, 0] - biases[:, 1]).mean()),
        n,
    )


def _stream_values(probed: ProbedModel) -> int:
    """Numbers that the parts of one input's stream are, and copies of them on the way."""
    return 4 * probed.d_model * probed.n_layers * (probed.n_heads + 2)
