"""Conventions: in which of two exactly equivalent forms activations are read and replaced."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from inversionview.errors import UserError
from inversionview.probed.access import ACCESS
from inversionview.probed.parts import Parts
from inversionview.sites import Site

Name = Literal["raw", "tl"]


class NotDerivedError(UserError):
    """A convention that there is, and that is not derived for this model."""


class HeadMap(NamedTuple):
    """A head's result is `z @ weight[head]`, less `offset[head]` where there is one."""

    weight: Tensor
    """`[head, d_head, d_model]`"""
    offset: Tensor | None
    """`[head, 1, d_model]`"""


class _Fold(NamedTuple):
    """What convention `tl` takes from the heads of a layer."""

    value: Tensor
    """`[head, d_head]`: c_h."""
    result: Tensor
    """`[head, d_model]`: c_h W_O[h]."""
    results: HeadMap


class Raw:
    """The values that the model itself computes; where it multiplies them before it adds them to the stream, so."""

    name: Name = "raw"

    def __init__(self, parts: Parts):
        self.parts = parts

    def read(self, site: Site, values: Tensor) -> Tensor:
        """The model's own values `[..., width]` at a site, in this convention; always a new tensor."""
        factor = self.parts.multipliers.get(site.kind)
        return values.clone() if factor is None else values * factor

    def to_raw(self, site: Site, values: Tensor) -> Tensor:
        """Values `[..., width]` at a site in this convention as the model's own."""
        factor = self.parts.multipliers.get(site.kind)
        return values if factor is None else values / factor

    def head_map(self, layer: int) -> HeadMap:
        """How the heads of a layer are read from their z."""
        weight, factor = self.parts.output_weight(layer), self.parts.multipliers.get("head")
        return HeadMap(weight if factor is None else weight * factor, None)


class Folded:
    """TransformerLens' values after its default processing of the weights, for models with LayerNorm.

    That processing folds LayerNorm into the weights that read the residual stream, centres the weights that write
    to it and moves the value biases into the attention's output bias. Seen from the raw values it is affine:
    every value loses its mean over d_model, and head h's result becomes `(z_h - c_h) W_O[h]` before that, where
    `c_h = b_V[h] + ln1.bias W_V[h]` is what the biases add to z_h whatever is attended to.
    """

    name: Name = "tl"

    def __init__(self, parts: Parts):
        if parts.architecture.norm != "LayerNorm":
            raise NotDerivedError(
                f"convention 'tl' is only derived for models with LayerNorm, and {type(parts.decoder).__name__} "
                "has RMSNorm: use convention 'raw'"
            )
        self.parts = parts
        self._kept: dict[int, tuple[tuple[int, ...], _Fold]] = {}

    def read(self, site: Site, values: Tensor) -> Tensor:
        """The model's own values `[..., width]` at a site, in this convention; always a new tensor."""
        constant, centred = self._constant(site), ACCESS[site.kind].centred
        if constant is None:
            return _centred(values) if centred else values.clone()
        folded = _wide(values) - constant
        return (_centred(folded) if centred else folded).to(values.dtype)

    def to_raw(self, site: Site, values: Tensor) -> Tensor:
        """Values `[..., width]` at a site in this convention as the model's own, up to a mean that no norm sees."""
        constant = self._constant(site)
        return values if constant is None else (_wide(values) + constant).to(values.dtype)

    def head_map(self, layer: int) -> HeadMap:
        """How the heads of a layer are read from their z."""
        return self._fold(layer).results

    def _constant(self, site: Site) -> Tensor | None:
        """What the biases add to the model's own values at a site at every input."""
        kind = ACCESS[site.kind]
        if kind.constant is None or site.layer is None or site.head is None:
            return None
        fold = self._fold(site.layer)
        by_head = fold.value if kind.constant == "value" else fold.result
        return by_head[site.head * (self.parts.n_heads // self.parts.n_kv_heads) if site.kind == "v" else site.head]

    def _fold(self, layer: int) -> _Fold:
        part = self.parts.layers[layer]
        sources = (part.projection.weight, part.value.weight, part.value.bias, getattr(part.ln1, "bias", None))
        state = tuple(number for t in sources if isinstance(t, Tensor) for number in (t.data_ptr(), t._version))
        kept = self._kept.get(layer)
        if kept is None or kept[0] != state:  # the caller may have trained the model on since
            kept = self._kept[layer] = (state, self._folded(layer))
        return kept[1]

    @torch.no_grad()
    def _folded(self, layer: int) -> _Fold:
        # In fp32 at least, and rounded once when a head is read: the constants are of the model, not of an activation.
        weight = _wide(self.parts.output_weight(layer))
        value_weight, value_bias = self.parts.value_weight(layer)
        value_weight, norm_bias = _wide(value_weight), getattr(self.parts.layers[layer].ln1, "bias", None)
        constant = torch.zeros_like(value_weight[0]) if value_bias is None else _wide(value_bias)
        if isinstance(norm_bias, Tensor):
            constant = constant + torch.einsum("d,dhk->hk", _wide(norm_bias), value_weight)
        added = torch.einsum("hk,hkd->hd", constant, weight)
        return _Fold(constant, added, HeadMap(_centred(weight), _centred(added)[:, None]))


def _centred(values: Tensor) -> Tensor:
    """Less their mean over the last axis; in fp32 at least, since a sum of many bf16 numbers has few right digits."""
    wide = _wide(values)
    return (wide - wide.mean(-1, keepdim=True)).to(values.dtype)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def convention(name: str, parts: Parts) -> Raw | Folded:
    """The convention of this name for a model's parts. UserError: unknown; NotDerivedError: not for this model."""
    if name not in get_args(Name):
        raise UserError(f"unknown convention {name!r}: use 'raw' or 'tl'")
    return Raw(parts) if name == "raw" else Folded(parts)
