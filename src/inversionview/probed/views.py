"""Views: sites of the user's own, made of another site by a matrix, a module or a function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inversionview.errors import UserError, one_line
from inversionview.sites import Site

Map = Tensor | nn.Module | Callable[[Tensor], Tensor]
"""A matrix that activations (rows) are multiplied by, or what turns `[..., width_in]` into `[..., width_out]`."""


@dataclass(frozen=True, eq=False)
class View:
    """Another form of the activations at a site `of`."""

    of: Site
    width: int
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor] | None
    """None where there is no way back, and so no patch."""
    digest: Callable[[], str]
    """SHA-256, in hex, of the site and of what the two maps are made of now."""


def view(of: Site, width: int, encode: Map, decode: Map | None, like: Tensor) -> View:
    """A view of a site of this `width`, tried on zeros of the type and device of `like`. Raises UserError."""
    encode, decode = _kept(encode), None if decode is None else _kept(decode)
    forward, back = _callable(encode), None if decode is None else _callable(decode)
    coded = _tried(forward, like.new_zeros(2, width), "encode", None)
    if back is not None:
        _tried(back, coded, "decode", width)

    def digest() -> str:
        ends = like.new_zeros(1, width), like.new_zeros(1, coded.shape[1])
        parts = str(of).encode(), _digest(encode, forward, ends[0]), _digest(decode, back, ends[1])
        return hashlib.sha256(b" ".join(parts)).hexdigest()

    return View(of, coded.shape[1], forward, back, digest)


def origin(site: Site, views: Mapping[str, View]) -> tuple[Site, tuple[View, ...]]:
    """The model's own site that a site is made of, and the views on the way, from there on."""
    chain: list[View] = []
    while site.name is not None:
        chain.insert(0, views[site.name])
        site = chain[0].of
    return site, tuple(chain)


def encoded(values: Tensor, views: tuple[View, ...]) -> Tensor:
    """Activations of the model's own site as the last of `views` has them."""
    for step in views:
        values = step.encode(values)
    return values


def replaced(values: Tensor, views: tuple[View, ...], new: Tensor) -> Tensor:
    """Activations at the model's own site with `new` in the last of `views`: `x + decode(new) - decode(encode(x))`.

    So what the view does not hold stays as it was: the rest of the space, or the error of a sparse autoencoder.
    """
    if not views:
        return new
    step, *inner = views
    assert step.decode is not None, "patches are checked before they get here"
    coded = step.encode(values)
    return values + (step.decode(replaced(coded, tuple(inner), new)) - step.decode(coded))


def _kept(given: Map) -> Map:
    return given.detach().clone() if isinstance(given, Tensor) else given


def _callable(given: Map) -> Callable[[Tensor], Tensor]:
    """A map in the type and on the device of what it is made of; its values come in those of the activations."""
    like: Tensor | None = None
    if isinstance(given, nn.Module):
        like = next(given.parameters(), None)
    elif isinstance(given, Tensor):
        if given.dim() != 2 or not given.is_floating_point():
            raise UserError(f"a view's matrix has two axes and real numbers, not shape {tuple(given.shape)}")
        like = given

    @torch.no_grad()
    def apply(values: Tensor) -> Tensor:
        there = values.clone() if like is None else values.to(like)
        made = there @ given if isinstance(given, Tensor) else given(there)
        return made.to(values) if isinstance(made, Tensor) else made

    return apply


def _tried(apply: Callable[[Tensor], Tensor], values: Tensor, name: str, width: int | None) -> Tensor:
    try:
        made = apply(values)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        why = one_line(error)
        raise UserError(f"{name} does not take activations of width {values.shape[1]}: {why}") from error
    shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
    if (
        not isinstance(made, Tensor)
        or made.shape[:-1] != values.shape[:-1]
        or made.shape[-1] != (width or made.shape[-1])
    ):
        raise UserError(f"{name} must make [batch, {width or 'width'}] of [batch, {values.shape[1]}], not {shape}")
    return made


def _digest(given: Map | None, apply: Callable[[Tensor], Tensor] | None, zeros: Tensor) -> bytes:
    if given is None or apply is None:
        return b"none"
    digest = hashlib.sha256(type(given).__name__.encode())
    tensors = given.state_dict() if isinstance(given, nn.Module) else {"": given} if isinstance(given, Tensor) else {}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    if not isinstance(given, Tensor):  # what a function or a module computes is only seen by its values
        line = torch.linspace(-1, 1, zeros.shape[1]).to(zeros)[None]
        for values in (zeros, line, 10 * line):
            digest.update(apply(values).float().cpu().numpy().tobytes())
    return digest.digest()
