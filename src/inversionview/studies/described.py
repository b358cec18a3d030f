"""What a study is, in a few words: what it reads, where, and what there is to read it with."""

from __future__ import annotations

from inversionview.errors import UserError
from inversionview.results import show
from inversionview.studies.banks import INPUTS, kept_banks
from inversionview.studies.parts import Parts


def line(parts: Parts) -> str:
    """One line; nothing is loaded for it."""
    decoder = "with a decoder" if parts.has_decoder else "without a decoder"
    where = "in memory" if parts.folder is None else f"in {parts.folder}"
    return f"<Study {parts.name}: {len(parts.sites)} sites, {decoder}, {where}>"


def box(parts: Parts) -> str:
    """A small box for a notebook; no model is loaded for it."""
    rows = {
        "reads": _model(parts),
        "inputs": _inputs(parts),
        "sites": _sites(parts.sites),
        "decoder": "yes" if parts.has_decoder else "none: inputs are proposed by a bank or the prior",
        "bank": _bank(parts),
        "members": f"inputs within ε = {parts.criterion.epsilon}, {parts.criterion.metric}",
        "folder": "" if parts.folder is None else str(parts.folder),
        "example": _example(parts),
    }
    return show.box(f"Study {parts.name}", rows)


def _model(parts: Parts) -> str:
    if not parts.loaded:
        return "a model that is loaded when it is first needed"
    probed = parts.probed
    return f"{type(probed.model).__name__}, {probed.n_layers} layers, residual stream of {probed.d_model:,}"


def _inputs(parts: Parts) -> str:
    try:
        size = parts.task.size
    except UserError as error:
        return str(error)
    return parts.task.name if size is None else f"{parts.task.name}, {size:,} inputs"


def _sites(names: tuple[str, ...], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _bank(parts: Parts) -> str:
    kept = [f"{len(bank.tokens):,} inputs at {', '.join(bank.roles)}" for bank in kept_banks(parts)]
    return "; ".join(kept) or f"none yet; one of {INPUTS:,} inputs is made where it is needed"


def _example(parts: Parts) -> str:
    try:
        start = parts.task.start
    except UserError:
        return ""
    places = [] if start is None else [place for place in start.places if place[0] in parts.sites]
    if start is None or not places:
        return ""
    site, at = places[0]
    return f"study.query({start.input!r}, at={at!r}, site={site!r})"
