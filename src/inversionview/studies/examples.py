"""What to look at first in a study."""

from __future__ import annotations

from collections.abc import Sequence

from inversionview.errors import UserError
from inversionview.results.map import BEFORE_ALL, KNOWN_SHARE, UNASKED, Cell, Map, given_by_token
from inversionview.sites import Site
from inversionview.studies.kept_map import kept_map
from inversionview.studies.study import Study
from inversionview.tasks.base import Start

_MAKERS = ("head", "head_added", "mlp_out", "attn_out")
"""Kinds of sites that put something into the residual stream; the stream itself holds all that was put there before."""


def start_of(study: Study) -> Start | None:
    """The start of the study's task, with those of its sites that the study has; None where it can read none of it."""
    start = study.task.start
    if start is None:
        return None
    places = tuple(place for place in start.places if place[0] in study.sites)
    try:
        study.task.encode(start.input)  # which another tokenizer, or another table of facts, may not have
    except UserError:
        return None
    return Start(start.input, places) if places else None


def first_view(study: Study, examples: Sequence[str]) -> Start:
    """The one place at which a study is opened: where the map that is kept with it finds most.

    Without such a map, or where it finds nothing, what the task says, or else something late in the model. The input is
    the task's own, or the first of the examples that has the position.
    """
    start, kept = start_of(study), kept_map(study)
    place = None if kept is None else finding(kept)
    inputs = [] if start is None else [start.input]
    if place is not None and place[0] in study.sites:
        for text in (*inputs, *examples):
            if _has(study, text, place[1]):
                return Start(text, (place,))
    if start is not None:
        return Start(start.input, start.places[:1])
    residual = [site for site in study.sites if Site.named(site).kind == "resid_post"] or list(study.sites)
    return Start(examples[0], ((residual[len(residual) // 2], ""),))


def finding(document: Map) -> tuple[str, str] | None:
    """The site and named position of a map's clearest finding; None where nothing is known that was not there before.

    It is the head, MLP or attention output that gives nearly all that the token left open of some feature. Of several:
    the one where that is most bits, then the one that tells least of anything else, then the first in the model.
    """
    given = given_by_token(document)
    tokens = {cell.at: cell for cell in document.cells if cell.site in BEFORE_ALL}
    found: list[tuple[float, float, float, Cell]] = []
    for cell in document.cells:
        if not cell.log2_domain_over_preimage or Site.named(cell.site).kind not in _MAKERS:
            continue
        before = tokens.get(cell.at)
        for name, feature in cell.bits.items():
            if name in UNASKED or name in given.get(cell.at, ()) or feature.share < KNOWN_SHARE:
                continue
            had = before.bits[name].bits if before is not None and name in before.bits else 0.0
            bits = feature.bits - had
            # to one decimal, since what is left is error, and cells that know the same are told apart by what follows
            found.append((round(feature.share, 1), round(bits, 1), bits / cell.log2_domain_over_preimage, cell))
    if not found:
        return None
    order = {site: i for i, site in enumerate(document.sites)}
    *_, cell = max(found, key=lambda one: (*one[:2], round(one[2], 2), -order[one[3].site]))
    return cell.site, cell.at


def _has(study: Study, text: str, at: str) -> bool:
    """Whether an input of the study has a named position that may be read."""
    try:
        study.query(text, at, study.sites[0])
    except UserError:
        return False
    return True
