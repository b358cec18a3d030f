"""From what a person asks for to measured effects of patching."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from inversionview.causal.contrast import TRIES, make_pairs
from inversionview.causal.effects import Direction, Order, PatchEffects, PatchSite, ordered, parse_patch_sites
from inversionview.causal.patching import patch_effects
from inversionview.probed.model import ProbedModel
from inversionview.tasks.base import Task


def make_patch_report(
    study: str,
    probed: ProbedModel,
    task: Task,
    *,
    target: str | int,
    sites: str | Sequence[str | PatchSite],
    contrast: str,
    at: str | int | None = None,
    order: Order | str = "forward",
    direction: Direction | str = "contrast-into-clean",
    where: str | None = None,
    contrast_where: str | None = None,
    n: int = 2000,
    seed: int = 0,
    tries: int = TRIES,
) -> PatchEffects:
    """Draw pairs of inputs and patch the activations of one run into the other; see `Study.patch`.

    `sites` are names separated by commas or in a list, each with a position of its own after an @ or else at `at`.
    `target`, `contrast` and the conditions are those of `make_pairs`, `order` is that of `ordered`, and `direction`
    that of `patch_effects`. Raises `UserError` as these do.
    """
    named = [sites] if isinstance(sites, str) else sites
    places = tuple(
        place
        for name in named
        for place in ((name,) if isinstance(name, PatchSite) else parse_patch_sites(name, at, probed.site))
    )
    for place in places:
        probed.site(place.site)  # before pairs are drawn, which takes longer
    wanted = ordered(places, order)
    pairs = make_pairs(
        task,
        n,
        target=target,
        contrast=contrast,
        where=where,
        contrast_where=contrast_where,
        seed=seed,
        tries=tries,
    )
    found = patch_effects(probed, pairs, wanted, direction=direction)
    said = {
        "study": study,
        "target": str(target),
        "at": None if at is None else str(at),
        "contrast": contrast,
        "where": where,
        "contrast_where": contrast_where,
        "seed": seed,
        "drawn": n,
    }
    return dataclasses.replace(found, settings=said)
