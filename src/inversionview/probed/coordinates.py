"""In how few numbers activations can be kept so that every distance between them stays what it is."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.probed.model import ProbedModel
from inversionview.sites import Site

RANK = 1e-7
"""Singular values of W_O below this share of the largest, which rounding cannot tell from none, count as none."""


class _Basis(NamedTuple):
    """W_O of the heads of a layer, in the model's convention, as a product: `weight = factor @ axes`."""

    weight: Float[Tensor, "head d_head d_model"]
    factor: Float[Tensor, "head d_head coord"]
    """Symmetric and positive."""
    axes: Float[Tensor, "head coord d_model"]
    """Orthonormal, as far as W_O has rank."""


_made: WeakKeyDictionary[ProbedModel, dict[int, _Basis]] = WeakKeyDictionary()
"""What was found of each model's layers. Its weights do not change while it is probed."""


class Coordinates:
    """The coordinates of a model's activations: of a head as many numbers as it has dimensions, else the activation.

    A head's result is `z W_O`. With `W_O = P U`, P symmetric and U orthonormal, the coordinates `z P` have the same
    inner products as the results, and so the same distances. This polar decomposition, in fp64, has no choice of signs:
    what a decoder learned of coordinates holds on every machine. In convention `tl`, W_O is centred and z less what
    biases add to it.
    """

    def __init__(self, probed: ProbedModel) -> None:
        self._probed = probed
        self._bases = _made.setdefault(probed, {})

    def source(self, site: Site) -> Site:
        """What to capture and keep for a site: of a head its z, for the others the site itself."""
        return Site("z", site.layer, site.head) if site.kind == "head" else site

    def width(self, site: Site) -> int:
        """How many numbers they are."""
        return self._probed.width(self.source(site))

    def of_source(self, site: Site, values: Float[Tensor, "*any width"]) -> Float[Tensor, "*any coord"]:
        """Coordinates in fp32 of what was captured at `source(site)`."""
        if site.kind != "head":
            return values.float()
        return values.float() @ self._basis(site).factor[site.head or 0].to(values.device)

    def of(self, site: Site, activations: Float[Tensor, "*any width"]) -> Float[Tensor, "*any coord"]:
        """Coordinates in fp32 of activations at a site. Of a vector that no run gives, what the head can put out."""
        if site.kind != "head":
            return activations.float()
        return activations.float() @ self._basis(site).axes[site.head or 0].T.to(activations.device)

    def activations(self, site: Site, values: Float[Tensor, "*any width"]) -> Float[Tensor, "*any d_model"]:
        """The activations, as `ProbedModel.capture` gives them, of what was captured at `source(site)`."""
        if site.kind != "head":
            return values
        weight = self._basis(site).weight[site.head or 0].to(values.device)
        return (values.to(weight.dtype) @ weight).to(values.dtype)

    @torch.no_grad()
    def _basis(self, site: Site) -> _Basis:
        layer = site.layer or 0
        if layer not in self._bases:
            weight = self._probed._convention.head_map(layer).weight.detach()
            # Of the small Gram matrices, which takes a hundredth of the time of a singular value decomposition.
            exact = weight.cpu().double()
            squares, vectors = torch.linalg.eigh(exact @ exact.mT)
            sizes = squares.clamp_min(0).sqrt()
            has_rank = sizes > RANK * sizes[:, -1:]
            inverse = torch.where(has_rank, 1 / torch.where(has_rank, sizes, 1.0), 0.0)
            factor = (vectors * (sizes * has_rank)[:, None]) @ vectors.mT
            axes = (vectors * inverse[:, None]) @ vectors.mT @ exact
            self._bases[layer] = _Basis(weight, factor.float(), axes.float())
        return self._bases[layer]
