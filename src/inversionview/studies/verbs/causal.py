"""From a query to whether what it encodes is used: the preimage is made, and its members and others are tried."""

from __future__ import annotations

from inversionview.causal.use import output_positions, use
from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable
from inversionview.reading.information import chosen_features
from inversionview.results.preimage import Query
from inversionview.results.use import Use
from inversionview.studies.parts import Parts, checked_site, counts_all
from inversionview.studies.settings import CausalSettings, ExactSettings, ReadSettings
from inversionview.studies.verbs.exact import exact
from inversionview.studies.verbs.read import read
from inversionview.tasks.base import Conditional


def causal(parts: Parts, query: Query, criterion: Criterion, settings: CausalSettings) -> Use:
    """Put activations of members and of non-members of the query's preimage into its run; see `Study.causal`."""
    task, n, held = parts.task, settings.n, settings.given or ()
    checked_site(parts, query.site)
    query.needed_input("a causal check")
    if n < 1:
        raise UserError(f"n must be at least 1, such as 500, not {n}")
    chosen_features(task, settings.features), chosen_features(task, held)
    output_positions(task, query, settings.outputs)  # what cannot be is known before the preimage is made
    whole = counts_all(parts) if settings.exact is None else settings.exact
    if whole:
        checked_enumerable(task)
        [preimage] = exact(parts, [query], criterion, ExactSettings(seed=settings.seed, explain=False))
    else:
        also = ("given",) if isinstance(task, Conditional) else ()
        sampling = ReadSettings(
            n=settings.draws,
            seed=settings.seed,
            temperatures=(1.0, 2.0),
            prior_share=0.4,
            also=also,
            colors=False,
            explain=False,
        )
        [preimage] = read(parts, [query], criterion, sampling)
    return use(
        parts.probed, task, preimage, n_members=n, n_others=n, features=settings.features, given=held,
        outputs=settings.outputs, seed=settings.seed,
    )  # fmt: skip
