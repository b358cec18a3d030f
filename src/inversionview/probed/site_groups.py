"""Sites by kind and by range of layers: `heads`, `a18-24`, `m3-7`, `x2-5.mid`, as they are typed after `--sites`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from inversionview.errors import UserError
from inversionview.sites import Site

GROUPS: dict[str, Callable[[Site], bool]] = {
    "heads": lambda site: site.kind == "head",
    "residual": lambda site: site.kind == "resid_post" or site == Site("resid_pre", 0),
    "mlps": lambda site: site.kind == "mlp_out",
    "attention": lambda site: site.kind == "attn_out",
    "all": lambda site: True,
}
"""`residual` has each state of the stream between layers once: before the first layer, and after each."""

WRITTEN = f"a site such as a0.1, layers such as a18-24, m3-7, attn3-7 or x2-5, or {', '.join(GROUPS)}"

_RANGE = re.compile(r"(?P<kind>a|attn|m|x)(?P<first>\d+)(-(?P<last>\d+))?(\.(?P<part>\d+|pre|mid|post))?", re.ASCII)


def select(
    names: Iterable[str | Site] | str | Site, there: Sequence[Site], find: Callable[[str | Site], Site]
) -> tuple[Site, ...]:
    """The sites that these names stand for, each once: in the order of the names, within one in that of `there`.

    `there` are the sites to choose from, `find` gives the one of a single name. Layers stand for all that is there:
    `a18-24` and `a20` for all heads, `a18-24.3` for one of each layer, `x2-5` for the stream after each layer,
    `x2-5.mid` for that after attention. Raises `UserError` for a name that stands for nothing.
    """
    given = (names,) if isinstance(names, str | Site) else names
    return tuple(dict.fromkeys(site for name in given for site in _of(name, there, find)))


def _of(name: str | Site, there: Sequence[Site], find: Callable[[str | Site], Site]) -> Sequence[Site]:
    try:
        return [find(name)]
    except UserError:
        if not isinstance(name, str) or _is_name(name):
            raise
    wanted = GROUPS.get(name) or _in_layers(name)
    if wanted is None:
        raise UserError(f"unknown site {name!r}: give {WRITTEN}")
    sites = [site for site in there if wanted(site)]
    layers = [site.layer for site in there if site.layer is not None]
    last = max((int(number) for number in re.findall(r"\d+", name.partition(".")[0])), default=0)
    if not sites or (layers and last > max(layers)):
        has = f"layers {min(layers)} to {max(layers)}" if layers else "no layers"
        raise UserError(f"there are no sites {name} among those to choose from, which have {has}: give {WRITTEN}")
    return sites


def _in_layers(name: str) -> Callable[[Site], bool] | None:
    """Which sites a range of layers is about; None for what is none."""
    match = _RANGE.fullmatch(name)
    if match is None:
        return None
    letters, part = match["kind"], match["part"]
    of_stream, of_head = part in ("pre", "mid", "post"), part is not None and part.isdigit()
    if (of_stream and letters != "x") or (of_head and letters != "a"):
        return None
    kind = {"a": "head", "m": "mlp_out", "attn": "attn_out", "x": f"resid_{part or 'post'}"}[letters]
    first, last, head = int(match["first"]), int(match["last"] or match["first"]), int(part) if of_head else None
    return lambda site: site.kind == kind and first <= (site.layer or 0) <= last and head in (None, site.head)


def _is_name(name: str) -> bool:
    """Whether a single site is called so, which the model may lack."""
    try:
        Site.parse(name)
    except UserError:
        return False
    return True
