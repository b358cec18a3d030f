"""Which tensors of a forward hold the activations at given sites, and how they are read from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inversionview.probed.architectures import Parts
from inversionview.probed.conventions import Folded, Raw
from inversionview.probed.hooks import Point
from inversionview.sites import Site

Read = Callable[[Tensor], Sequence[Tensor]]


class Tap(NamedTuple):
    """One point of the forward, the sites that are read there, and how: `[..., width]` to one `[..., d_model]` each.

    Positions are gathered before `read`, so that only those asked for are projected.
    """

    point: Point
    sites: tuple[Site, ...]
    read: Read


def taps(sites: Sequence[Site], parts: Parts, convention: Raw | Folded) -> tuple[Tap, ...]:
    """The points that carry these sites of a model; the heads of one layer share one."""
    at: dict[Point, list[Site]] = {}
    for site in sites:
        at.setdefault(point_of(site, parts), []).append(site)
    return tuple(Tap(point, tuple(here), _reader(here, convention)) for point, here in at.items())


def point_of(site: Site, parts: Parts) -> Point:
    """Where a site's tensor passes; a head's is the concatenated z of its layer, `[batch, pos, head * d_head]`."""
    if site.layer is None:
        return Point(_present(parts.embed if site.kind == "embed" else parts.pos_embed), before=False)
    layer = parts.layers[site.layer]
    match site.kind:
        case "resid_pre":
            return Point(layer.block, before=True)
        case "resid_mid":
            return Point(_present(layer.ln2), before=True)
        case "resid_post":
            return Point(layer.block, before=False)
        case "mlp_out":
            return Point(layer.mlp_out, before=False)
        case "attn_out":
            return Point(layer.attn_out, before=False)
        case _:
            return Point(layer.projection, before=True)


def _present(module: nn.Module | None) -> nn.Module:
    assert module is not None, "sites are checked against the model's before they get here"
    return module


def _reader(sites: Sequence[Site], convention: Raw | Folded) -> Read:
    site = sites[0]
    if site.kind != "head" or site.layer is None:
        return lambda values: [convention.read(values)]
    layer, heads = site.layer, [site.head for site in sites if site.head is not None]
    return lambda z: _project(z, heads, *convention.head_map(layer))


def _project(z: Tensor, heads: list[int], weight: Tensor, offset: Tensor | None) -> Sequence[Tensor]:
    n_heads, d_head, d_model = weight.shape
    by_head = z.reshape(-1, n_heads, d_head).transpose(0, 1).to(weight.dtype)
    if heads != list(range(n_heads)):
        by_head, weight, offset = by_head[heads], weight[heads], None if offset is None else offset[heads]
    results = torch.bmm(by_head, weight) if offset is None else torch.baddbmm(offset, by_head, weight, beta=-1)
    return results.to(z.dtype).view(len(heads), *z.shape[:-1], d_model).unbind()
