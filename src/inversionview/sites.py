"""Activation sites: the places of a probed model that can be read or replaced, and every spelling of their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from inversionview.errors import UserError

Kind = Literal["resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out", "head", "embed", "pos_embed"]

_RESIDUAL: dict[str, Kind] = {"pre": "resid_pre", "mid": "resid_mid", "post": "resid_post"}
_LAYER_KINDS = ("resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out")
_WHOLE_KINDS = ("embed", "pos_embed")
_EXAMPLES = "x0.pre, x0.mid, x0.post, m0, attn0, a0.1, embed, pos_embed, or TransformerLens' names of these"


@dataclass(frozen=True, order=True)
class Site:
    """One activation site; `layer` and `head` count from 0 and are None where the kind has none.

    `str(site)` is the short name (`a0.1`), `site.hook_name` TransformerLens' (`blocks.0.attn.hook_result.1`).
    Raises UserError when the kind is unknown, or has a layer or head too many or too few.
    """

    kind: Kind
    layer: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in (*_LAYER_KINDS, *_WHOLE_KINDS, "head"):
            raise UserError(f"unknown kind of site {self.kind!r}: use one of {', '.join(Kind.__args__)}")  # type: ignore[attr-defined]
        for field, number, needed in (
            ("layer", self.layer, self.kind not in _WHOLE_KINDS),
            ("head", self.head, self.kind == "head"),
        ):
            if needed and not _is_count(number):
                raise UserError(f"a {self.kind} site needs a {field} counted from 0, not {number!r}")
            if not needed and number is not None:
                raise UserError(f"a {self.kind} site has no {field}, but {number!r} was given")

    @staticmethod
    def parse(name: str | Site) -> Site:
        """The site with this short or TransformerLens name; a Site is returned as it is. Raises UserError."""
        if isinstance(name, Site):
            return name
        if not isinstance(name, str):
            raise UserError(f"a site is a name or a Site, not {type(name).__name__}: e.g. {_EXAMPLES}")
        site = _parse_hook_name(name) if "hook_" in name else _parse_short_name(name)
        if site is None:
            raise UserError(f"unknown site {name!r}: sites are written {_EXAMPLES}")
        return site

    def __str__(self) -> str:
        if self.kind == "head":
            return f"a{self.layer}.{self.head}"
        if self.kind == "mlp_out":
            return f"m{self.layer}"
        if self.kind == "attn_out":
            return f"attn{self.layer}"
        if self.kind in _WHOLE_KINDS:
            return self.kind
        return f"x{self.layer}.{self.kind.removeprefix('resid_')}"

    @property
    def hook_name(self) -> str:
        """TransformerLens' name; a head's carries the head's index after `hook_result`."""
        if self.kind == "head":
            return f"blocks.{self.layer}.attn.hook_result.{self.head}"
        if self.kind in _WHOLE_KINDS:
            return f"hook_{self.kind}"
        return f"blocks.{self.layer}.hook_{self.kind}"


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _count(text: str) -> int | None:
    # int() also takes "+1", "1_0" and " 1"; one number must have one spelling, since names are keys in files.
    canonical = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    return int(text) if canonical else None


def _parse_short_name(name: str) -> Site | None:
    if name in _WHOLE_KINDS:
        return Site(cast(Kind, name))
    if name.startswith("attn"):
        return _layer_site("attn_out", name[4:])
    first, _, second = name[1:].partition(".")
    if name.startswith("m"):
        return _layer_site("mlp_out", name[1:])
    if name.startswith("x") and second in _RESIDUAL:
        return _layer_site(_RESIDUAL[second], first)
    if name.startswith("a"):
        return _head_site(first, second)
    return None


def _parse_hook_name(name: str) -> Site | None:
    match name.split("."):
        case [hook] if hook.removeprefix("hook_") in _WHOLE_KINDS:
            return Site(cast(Kind, hook.removeprefix("hook_")))
        case ["blocks", layer, hook] if hook.removeprefix("hook_") in _LAYER_KINDS:
            return _layer_site(cast(Kind, hook.removeprefix("hook_")), layer)
        case ["blocks", layer, "attn", "hook_result", head]:
            return _head_site(layer, head)
    return None


def _layer_site(kind: Kind, layer: str) -> Site | None:
    number = _count(layer)
    return None if number is None else Site(kind, number)


def _head_site(layer: str, head: str) -> Site | None:
    numbers = _count(layer), _count(head)
    return None if None in numbers else Site("head", *numbers)
