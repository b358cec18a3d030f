"""From what a person asks for to measured effects of patching."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from inversionview.causal.contrast import check_place, make_pairs
from inversionview.causal.effects import PatchEffects, PatchSite, ordered, parse_patch_sites
from inversionview.causal.patching import patch_effects
from inversionview.studies.parts import Parts
from inversionview.studies.settings import PatchSettings


def patch(
    parts: Parts, target: str | int, sites: str | Sequence[str | PatchSite], contrast: str, settings: PatchSettings
) -> PatchEffects:
    """Draw pairs of inputs and patch the activations of one run into the other; see `Study.patch`."""
    at, n, select = settings.at, settings.n, parts.probed.select_sites
    named = [sites] if isinstance(sites, str) else sites
    places = tuple(
        place
        for name in named
        for place in ((name,) if isinstance(name, PatchSite) else parse_patch_sites(name, at, select))
    )
    for place in places:
        parts.probed.site(place.site)  # before pairs are drawn, which takes longer
        check_place(parts.task, place.at)
    wanted = ordered(places, settings.order)
    pairs = make_pairs(
        parts.task,
        n,
        target=target,
        contrast=contrast,
        where=settings.where,
        contrast_where=settings.contrast_where,
        seed=settings.seed,
        tries=settings.tries,
    )
    effects = patch_effects(parts.probed, pairs, wanted, direction=settings.direction)
    said = {
        "study": parts.name,
        "target": str(target),
        "at": None if at is None else str(at),
        "contrast": contrast,
        "where": settings.where,
        "contrast_where": settings.contrast_where,
        "seed": settings.seed,
        "drawn": n,
    }
    return dataclasses.replace(effects, settings=said)
