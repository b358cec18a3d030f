"""Which tensors of a forward hold the activations at given sites, and how they are read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inversionview.probed.access import ACCESS, cut, point_of
from inversionview.probed.conventions import Folded, Raw
from inversionview.probed.hooks import Point
from inversionview.probed.norms import added_by_heads
from inversionview.probed.parts import Parts
from inversionview.probed.views import View, encoded, origin
from inversionview.sites import Site

Read = Callable[[Tensor], Sequence[Tensor]]


class Tap(NamedTuple):
    """One point of the forward, the sites that are read there, and how: what passes there to `[..., width]` of each.

    Positions are gathered before `read`, so that only those asked for are projected.
    """

    point: Point
    sites: tuple[Site, ...]
    read: Read


def taps(sites: Sequence[Site], parts: Parts, convention: Raw | Folded, views: Mapping[str, View]) -> tuple[Tap, ...]:
    """The points that carry these sites of a model; what is read at one of them shares a tap."""
    by_point: dict[Point, list[Site]] = {}
    for site in sites:
        by_point.setdefault(point_of(origin(site, views)[0], parts), []).append(site)
    return tuple(Tap(point, tuple(here), _reader(here, parts, convention, views)) for point, here in by_point.items())


def _reader(sites: Sequence[Site], parts: Parts, convention: Raw | Folded, views: Mapping[str, View]) -> Read:
    made_of = [origin(site, views) for site in sites]
    own = tuple(dict.fromkeys(site for site, _ in made_of))
    results, added, others = (
        [site for site in own if ACCESS[site.kind].form in forms]
        for forms in (("result",), ("added",), ("in place", "stream"))
    )
    layer = next((site.layer or 0 for site in (*results, *added)), 0)  # those of one point have one layer

    def read(tensor: Tensor) -> Sequence[Tensor]:
        values = {site: convention.read(site, cut(site, parts, tensor)) for site in others}
        if results:
            projected = _project(tensor, [site.head or 0 for site in results], *convention.head_map(layer))
            values.update(zip(results, projected, strict=True))
        if added:
            shares = added_by_heads(parts, layer, [site.head or 0 for site in added], tensor)
            values |= {site: convention.read(site, share) for site, share in zip(added, shares, strict=True)}
        return [encoded(values[site], chain) for site, chain in made_of]

    return read


def _project(z: Tensor, heads: list[int], weight: Tensor, offset: Tensor | None) -> Sequence[Tensor]:
    n_heads, d_head, d_model = weight.shape
    by_head = z.reshape(-1, n_heads, d_head).transpose(0, 1).to(weight.dtype)
    if heads != list(range(n_heads)):
        by_head, weight, offset = by_head[heads], weight[heads], None if offset is None else offset[heads]
    results = torch.bmm(by_head, weight) if offset is None else torch.baddbmm(offset, by_head, weight, beta=-1)
    return results.to(z.dtype).view(len(heads), *z.shape[:-1], d_model).unbind()
