"""Activation sites: the places of a probed model that can be read or replaced, and every spelling of their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from inversionview.errors import UserError

_NUMBER = "0|[1-9][0-9]*"  # one number must have one spelling, since names are keys in files
_VIEW_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SiteKind:
    """How the sites of one kind are written: `{layer}` and `{head}` stand for numbers counted from 0."""

    name: str
    short: str
    hook: str
    """TransformerLens' name; of one head, with the head's index after it. (It has none of its own for `head_added`.)"""
    about: str
    """What it is, in words."""

    @cached_property
    def has_layer(self) -> bool:
        return "{layer}" in self.short

    @cached_property
    def has_head(self) -> bool:
        return "{head}" in self.short

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """What matches the short name and the hook's; their groups are `layer` and `head`."""
        short, hook = (
            re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{_NUMBER})", re.escape(form)) for form in (self.short, self.hook)
        )
        return re.compile(short), re.compile(hook)

    @property
    def example(self) -> str:
        return self.short.format(layer=0, head=1)


VIEW = "view"
"""The kind of sites that a user makes of another site (`ProbedModel.add_view`); only the model knows their names."""

KINDS: dict[str, SiteKind] = {
    kind.name: kind
    for kind in (
        SiteKind("resid_pre", "x{layer}.pre", "blocks.{layer}.hook_resid_pre", "residual stream before layer {layer}"),
        SiteKind("resid_mid", "x{layer}.mid", "blocks.{layer}.hook_resid_mid", "residual stream within layer {layer}"),
        SiteKind(
            "resid_post", "x{layer}.post", "blocks.{layer}.hook_resid_post", "residual stream after layer {layer}"
        ),
        SiteKind("mlp_out", "m{layer}", "blocks.{layer}.hook_mlp_out", "MLP of layer {layer}"),
        SiteKind("attn_out", "attn{layer}", "blocks.{layer}.hook_attn_out", "attention of layer {layer}"),
        SiteKind("head", "a{layer}.{head}", "blocks.{layer}.attn.hook_result.{head}", "head {head} of layer {layer}"),
        SiteKind(
            "head_added",
            "h{layer}.{head}",
            "blocks.{layer}.hook_attn_out.{head}",
            "what head {head} of layer {layer} adds",
        ),
        SiteKind("embed", "embed", "hook_embed", "token embedding"),
        SiteKind("pos_embed", "pos_embed", "hook_pos_embed", "position embedding"),
        SiteKind("q", "q{layer}.{head}", "blocks.{layer}.attn.hook_q.{head}", "query of head {head} of layer {layer}"),
        SiteKind("k", "k{layer}.{head}", "blocks.{layer}.attn.hook_k.{head}", "key of head {head} of layer {layer}"),
        SiteKind("v", "v{layer}.{head}", "blocks.{layer}.attn.hook_v.{head}", "value of head {head} of layer {layer}"),
        SiteKind(
            "z",
            "z{layer}.{head}",
            "blocks.{layer}.attn.hook_z.{head}",
            "head {head} of layer {layer} before its output matrix",
        ),
        SiteKind("neurons", "n{layer}", "blocks.{layer}.mlp.hook_post", "neurons of the MLP of layer {layer}"),
    )
}
"""What a kind's activations are and how they are reached is beside this, in `probed/access.py`."""

_EXAMPLES = f"{', '.join(kind.example for kind in KINDS.values())}, or TransformerLens' names of these"


@dataclass(frozen=True, order=True)
class Site:
    """One activation site; `layer` and `head` count from 0 and are None where the kind has none.

    `str(site)` is the short name (`a0.1`), `site.hook_name` TransformerLens' (`blocks.0.attn.hook_result.1`). The head
    of `k` and `v` counts key-value heads, of which a model may have fewer. A view has nothing but its name.
    Raises UserError when the kind is unknown, or has a layer, head or name too many or too few.
    """

    kind: str
    layer: int | None = None
    head: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, VIEW):
            raise UserError(f"unknown kind of site {self.kind!r}: use one of {', '.join((*KINDS, VIEW))}")
        row = KINDS.get(self.kind)
        for field, number, needed in (
            ("layer", self.layer, row is not None and row.has_layer),
            ("head", self.head, row is not None and row.has_head),
        ):
            if needed and not _is_count(number):
                raise UserError(f"a {self.kind} site needs a {field} counted from 0, not {number!r}")
            if not needed and number is not None:
                raise UserError(f"a {self.kind} site has no {field}, but {number!r} was given")
        if row is not None and self.name is not None:
            raise UserError(f"a {self.kind} site has no name of its own, but {self.name!r} was given")
        if row is None and not (isinstance(self.name, str) and _VIEW_NAME.fullmatch(self.name)):
            raise UserError(f"a view needs a name of letters, digits and _, such as sae3, not {self.name!r}")

    @staticmethod
    def parse(name: str | Site) -> Site:
        """The site with this short or TransformerLens name; a Site is returned as it is. Raises UserError.

        A view's name says nothing without its model: `ProbedModel.site` takes these as well.
        """
        if isinstance(name, Site):
            return name
        if not isinstance(name, str):
            raise UserError(f"a site is a name or a Site, not {type(name).__name__}: e.g. {_EXAMPLES}")
        for row in KINDS.values():
            for pattern in row.patterns:
                if match := pattern.fullmatch(name):
                    numbers = {field: int(number) for field, number in match.groupdict().items()}
                    return Site(row.name, numbers.get("layer"), numbers.get("head"))
        raise UserError(f"unknown site {name!r}: sites are written {_EXAMPLES}")

    @staticmethod
    def named(name: str) -> Site:
        """The site that has this name in a query or a file; what is no model's is a view's. Raises UserError."""
        try:
            return Site.parse(name)
        except UserError:
            return Site(VIEW, name=name)

    def __str__(self) -> str:
        return self.name or KINDS[self.kind].short.format(layer=self.layer, head=self.head)

    @property
    def words(self) -> str:
        """What it is, for who does not know its name: `head 1 of layer 0`."""
        return f"the view {self.name}" if self.name else KINDS[self.kind].about.format(layer=self.layer, head=self.head)

    @property
    def hook_name(self) -> str:
        """TransformerLens' name; a head's carries the head's index after `hook_result`, and a view's is its own."""
        return self.name or KINDS[self.kind].hook.format(layer=self.layer, head=self.head)


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
