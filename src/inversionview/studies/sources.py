"""Where a study draws from beside its decoder and prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inversionview.errors import UserError
from inversionview.preimage.sources.edits import EditSource
from inversionview.preimage.sources.proposals import Source, given_sources
from inversionview.preimage.sources.retrieval import RetrievalSource
from inversionview.preimage.sources.widened import widened_sources

if TYPE_CHECKING:
    from inversionview.studies.study import Study


def make_source(name: str, study: Study, n: int, epsilons: Sequence[float], metric: str, position_rule: str) -> Source:
    """A source beside decoder and prior, by its name. Raises `UserError` that says which there are."""
    probed, task = study.probed, study.task
    if name == "retrieval":
        return RetrievalSource(probed=probed, task=task, n=n, metric=metric, position_rule=position_rule)
    if name == "edits":
        if len(set(epsilons)) > 1:
            raise UserError("edits walk inside one epsilon: read queries whose epsilons differ one at a time")
        return EditSource(
            probed=probed,
            task=task,
            n=n,
            epsilon=epsilons[0],
            metric=metric,
            position_rule=position_rule,
            decoder=study.decoder,
        )
    raise UserError(f"there is no source {name!r} to draw from as well: use retrieval, edits, given, cosine or varied")


def make_sources(
    name: str, study: Study, n: int, epsilons: Sequence[float], metric: str, position_rule: str
) -> Sequence[Source]:
    """What `make_source` gives, and the sources that `given` (all conditions of the task) or `given:NAME` stand for.

    Of `cosine` and `varied`, what `widened_sources` gives.
    """
    kind = name.partition(":")[0]
    if kind == "given":
        return given_sources(study.task, name, n)
    if kind in ("cosine", "varied"):
        return widened_sources(name, study.decoder, study.task, n)
    return [make_source(name, study, n, epsilons, metric, position_rule)]
