"""Which heads matter at a position, by how much each moves the residual stream.

The proximity of a part to the whole is `‖whole‖₁ - ‖whole - part‖₁`, at least 1e-5, divided by the sum over parts
(Ferrando and Voita 2024, section 2; InversionView, appendix on head selection). The whole is the stream after attention
(`resid_mid`), the parts are the stream before it (`resid_pre`) and the heads of the layer. The attention's output bias
is in the whole, but is no part: it is the same for all inputs, and takes nothing of the sum. The convention matters a
little: `tl` moves to that bias what the biases of norm and values add to every head, and centres all values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.probed.readout import heads_in_stream
from inversionview.progress import advance, stage
from inversionview.sites import Site

LEAST = 0.02
"""A part counts for an input where its share of the proximities is above this; the paper's."""
_FLOOR = 1e-5
_BLOCK_VALUES = 2**24
"""Activation values that are captured at once."""

# Tokens and positions are annotated as plain tensors: what is wrong with them is the user's to mend, and checked there.


@dataclass(frozen=True)
class Counted:
    """How one part, a head or a layer's input, moves the stream over some inputs."""

    site: str
    """Short name: `a0.1`, `x0.pre`."""
    counts: float
    """Share of the inputs for which it counts."""
    proximity: float
    """Mean over inputs of its normalised proximity; those of one layer add up to 1."""


@dataclass(frozen=True)
class HeadSelection:
    """Every head and every layer's input, of all layers or of the upper half, in the order of a forward."""

    parts: tuple[Counted, ...]
    least: float
    """A part counts where its normalised proximity is above this."""
    n: int
    """Inputs."""

    def __repr__(self) -> str:
        most = ", ".join(f"{head.site} {head.counts:.0%}" for head in self.heads[:5])
        return f"<HeadSelection over {self.n:,} inputs: counts most often {most}>"

    @property
    def heads(self) -> tuple[Counted, ...]:
        """The heads alone, those that count most often first; ties in the order of a forward."""
        heads = [part for part in self.parts if part.site.startswith("a")]
        return tuple(sorted(heads, key=lambda part: -part.counts))

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {"schema": 1, "n": self.n, "least": self.least, "parts": [vars(part) for part in self.parts]}


@torch.no_grad()
def select_heads(
    probed: ProbedModel, tokens: Tensor, positions: int | Tensor, *, least: float = LEAST, upper: bool = False
) -> HeadSelection:
    """How often each head counts at a position of these inputs: for the choice of heads to look at.

    `tokens` `[batch, pos]`; `positions` an index or `[batch]`. `upper`: of the upper half of the layers alone, as in
    the paper, which takes 24 to 47 of GPT-2 XL's 48; with an odd number, the one in the middle is among them.
    Raises `UserError` for no inputs, a `least` that is no share, and as `capture` does.
    """
    check_least(least)
    batch = len(tokens)
    if not batch:
        raise UserError("give at least one input to select heads by")
    layers = range(probed.n_layers // 2 if upper else 0, probed.n_layers)
    sites = [[Site("resid_pre", i), *(Site("head", i, h) for h in range(probed.n_heads))] for i in layers]
    block = max(1, _BLOCK_VALUES // (len(layers) * (probed.n_heads + 2) * probed.d_model))
    counts = torch.zeros(len(layers), probed.n_heads + 1, dtype=torch.float64)
    totals = torch.zeros_like(counts)
    at = torch.as_tensor(positions)
    with stage("measuring heads, in inputs", batch):
        for start in range(0, batch, block):
            rows = slice(start, start + block)
            proximities = _proximities(probed, tokens[rows], at[rows] if at.dim() else at, layers)
            counts += (proximities > least).sum(dim=2)
            totals += proximities.sum(dim=2)
            advance(len(tokens[rows]))
    return HeadSelection(
        tuple(
            Counted(str(site), float(count) / batch, float(total) / batch)
            for layer, *sums in zip(sites, counts, totals, strict=True)
            for site, count, total in zip(layer, *sums, strict=True)
        ),
        least,
        batch,
    )


def check_least(least: float) -> None:
    """Raise `UserError` for what is no share."""
    if not 0 <= least < 1:
        raise UserError(f"least must be a share from 0 up to, and without, 1, such as {LEAST}, not {least}")


def _proximities(
    probed: ProbedModel, tokens: Tensor, positions: Tensor, layers: range
) -> Float[Tensor, "layer part batch"]:
    """Normalised, in fp64; of each layer its input first, then its heads."""
    kinds = ("resid_pre", "head", "attn_out")
    sites = [site for site in probed.sites if site.kind in kinds and site.layer in layers]
    activations = probed.capture(tokens, sites, positions)
    by_layer = []
    for layer in layers:
        before = activations[Site("resid_pre", layer)]
        heads = torch.stack([activations[Site("head", layer, head)] for head in range(probed.n_heads)])
        parts = torch.cat([before[None], heads_in_stream(probed, layer, heads)]).double()
        whole = before.double() + activations[Site("attn_out", layer)].double()
        near = (whole.abs().sum(dim=-1) - (whole - parts).abs().sum(dim=-1)).clamp_min(_FLOOR)
        by_layer.append(near / near.sum(dim=0))
    return torch.stack(by_layer).cpu()
