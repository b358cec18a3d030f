"""How the sites of each kind are reached in a model: the table beside that of their names, `sites.KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.probed.hooks import Point
from inversionview.probed.parts import LayerParts, Parts
from inversionview.sites import KINDS, Site


@dataclass(frozen=True)
class Access:
    """Where the activations of one kind pass, how wide they are, and what the conventions and a patch must know."""

    module: Callable[[Parts, LayerParts], nn.Module | None]
    """What puts out the tensor or takes it in; None where the model lacks it. (Of kinds without layer any.)"""
    before: bool = False
    """The tensor is that module's first argument, and not its output."""
    width: Callable[[Parts], int] = lambda parts: parts.d_model
    heads: Callable[[Parts], int] | None = None
    """Of kinds with a head: how many there are in a layer."""
    cut: Callable[[Parts, Tensor, int], Tensor] | None = None
    """Of kinds with a head: the view `[..., number]` of one head in that tensor."""
    form: Literal["in place", "stream", "result", "added"] = "in place"
    """`stream`: a sum that no module puts out; `result`: never a tensor, but the cut times W_O of its head; `added`:
    nor is this, but the result times the scale of the norm that follows the heads' sum."""
    centred: bool = False
    """In convention `tl` it loses its mean, being written in the residual stream's basis."""
    constant: Literal["value", "result"] | None = None
    """In convention `tl` it lacks what the biases add to its head's value, or to its result, at every input."""
    listed: bool = True
    """It is among `ProbedModel.sites`, which studies and maps choose from."""


def _head_of_z(parts: Parts, tensor: Tensor, head: int) -> Tensor:
    return tensor.narrow(-1, head * parts.d_head, parts.d_head)


def _attention_input(role: Literal["query", "key", "value"], constant: Literal["value"] | None = None) -> Access:
    return Access(
        lambda parts, layer: getattr(layer, role),
        width=lambda parts: parts.d_head,
        heads=lambda parts: parts.n_heads if role == "query" else parts.n_kv_heads,
        cut=lambda parts, tensor, head: parts.cut(role, tensor, head),
        constant=constant,
        listed=False,
    )


ACCESS: dict[str, Access] = {
    "embed": Access(lambda parts, layer: parts.embed, centred=True),
    "pos_embed": Access(lambda parts, layer: parts.pos_embed, centred=True),
    "resid_pre": Access(lambda parts, layer: layer.block, before=True, centred=True),
    "q": _attention_input("query"),
    "k": _attention_input("key"),
    "v": _attention_input("value", constant="value"),
    "z": Access(
        lambda parts, layer: layer.projection,
        before=True,
        width=lambda parts: parts.d_head,
        heads=lambda parts: parts.n_heads,
        cut=_head_of_z,
        constant="value",
        listed=False,
    ),
    "head": Access(
        lambda parts, layer: layer.projection,
        before=True,
        heads=lambda parts: parts.n_heads,
        cut=_head_of_z,
        form="result",
        centred=True,
        constant="result",
    ),
    "head_added": Access(
        lambda parts, layer: layer.projection if layer.norm_after_heads else None,
        before=True,
        heads=lambda parts: parts.n_heads,
        cut=_head_of_z,
        form="added",
        centred=True,
        listed=False,
    ),
    "attn_out": Access(lambda parts, layer: layer.attn_out, centred=True),
    "resid_mid": Access(lambda parts, layer: layer.ln2, before=True, form="stream", centred=True),
    "neurons": Access(lambda parts, layer: layer.down, before=True, width=lambda parts: parts.d_mlp, listed=False),
    "mlp_out": Access(lambda parts, layer: layer.mlp_out, centred=True),
    "resid_post": Access(lambda parts, layer: layer.block, centred=True),
}
"""In the order of a forward."""


def point_of(site: Site, parts: Parts) -> Point:
    """Where the tensor that holds a site passes; a head's is the concatenated z of its layer."""
    row = ACCESS[site.kind]
    module = row.module(parts, parts.layers[site.layer or 0])
    assert module is not None, "sites are checked against the model's before they get here"
    return Point(module, row.before)


def note_of(site: Site, parts: Parts) -> str:
    """What a site's name does not say of it in this model, in words."""
    if site.layer is None or not parts.layers[site.layer].norm_after_heads:
        return ""
    return {
        "head": "what the head gives to the norm that follows attention, not what is added to the residual stream: "
        f"that is h{site.layer}.{site.head}",
        "head_added": "what the head adds to the residual stream: its result at the scale of the norm that follows",
    }.get(site.kind, "")


def cut(site: Site, parts: Parts, tensor: Tensor) -> Tensor:
    """The view `[..., number]` of one site in the tensor at its point; of a head before its projection."""
    row = ACCESS[site.kind]
    return tensor if row.cut is None or site.head is None else row.cut(parts, tensor, site.head)


def all_sites(parts: Parts, *, listed: bool = True) -> tuple[Site, ...]:
    """Every site that is listed of a model, or those that are not, in the order of a forward."""
    kinds = [kind for kind, row in ACCESS.items() if row.listed is listed]
    whole = [site for kind in kinds if not KINDS[kind].has_layer for site in _sites_of(kind, None, parts)]
    layers = range(len(parts.layers))
    return (
        *whole,
        *(site for i in layers for kind in kinds if KINDS[kind].has_layer for site in _sites_of(kind, i, parts)),
    )


def _sites_of(kind: str, layer: int | None, parts: Parts) -> Iterator[Site]:
    row = ACCESS[kind]
    if row.module(parts, parts.layers[layer or 0]) is None:
        return
    yield from (Site(kind, layer, head) for head in ([None] if row.heads is None else range(row.heads(parts))))


def checked_site(site: Site, parts: Parts, views: Iterable[str] = ()) -> Site:
    """The site itself. Raises UserError that names the sites there are."""
    there = site.kind in ACCESS and (site.layer is None or site.layer < len(parts.layers))
    if there and site in _sites_of(site.kind, site.layer, parts):
        return site
    first, more = (
        ", ".join(str(site) for site in all_sites(parts, listed=listed) if not (site.layer or site.head))
        for listed in (True, False)
    )
    shared = f" (k and v: 0 to {parts.n_kv_heads - 1})" if parts.n_kv_heads != parts.n_heads else ""
    named = "".join(f", {name}" for name in views)
    raise UserError(
        f"this model has no site {site}: there are {first}, with layers 0 to {len(parts.layers) - 1} "
        f"and heads 0 to {parts.n_heads - 1}; and {more}{shared}{named}"
    )
