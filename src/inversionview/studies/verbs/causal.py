"""From a query to whether what it encodes is used: the preimage is made, and its members and others are tried."""

from __future__ import annotations

from collections.abc import Sequence

from inversionview.causal.use import output_positions, use
from inversionview.causal.use_result import Use
from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable
from inversionview.reading.information import chosen_features
from inversionview.results.preimage import Query
from inversionview.studies.study import Study
from inversionview.studies.verbs.query import checked_site
from inversionview.tasks.base import Conditional

DRAWS = 4000
"""Candidates of a sampled preimage."""


def run_causal(
    study: Study,
    query: Query,
    *,
    n: int = 500,
    exact: bool | None = None,
    draws: int = DRAWS,
    epsilon: float | str | None = None,
    metric: str | None = None,
    position_rule: str = "same",
    features: Sequence[str] | None = None,
    given: str | Sequence[str] | None = None,
    outputs: Sequence[str | int] | None = None,
    seed: int = 0,
) -> Use:
    """Put activations of members and of non-members of the query's preimage into its run; see `causal.use.use`.

    `n`: inputs of each group. `exact`: of the whole preimage, by default where the task can enumerate; else `draws`
    candidates are drawn, from the decoder at temperatures 1 and 2 and, four in ten, from the prior, and a quarter more
    from the prior given what inputs share with the query's, where the task can. `epsilon` and
    `metric` are the study's own by default. `features`: those to be told about, by default all; `given`: those held at
    the query's value in all non-members. `outputs`: positions whose next token is looked at.
    Raises `UserError` for settings that cannot be, `exact` where the task cannot enumerate, and as `use` does.
    """
    checked_site(study.name, study.sites, query.site)
    if n < 1:
        raise UserError(f"n must be at least 1, such as 500, not {n}")
    held = [given] if isinstance(given, str) else list(given or ())
    chosen_features(study.task, features), chosen_features(study.task, held)
    output_positions(study.task, query, outputs)  # what cannot be is known before the preimage is made
    exact = study.task.size is not None if exact is None else exact
    if exact:
        checked_enumerable(study.task)
        preimage = study.exact_preimage(query, epsilon=epsilon, metric=metric, position_rule=position_rule, seed=seed)
    else:
        preimage = study.preimage(
            query, draws, epsilon=epsilon, metric=metric, position_rule=position_rule, seed=seed,
            temperatures=(1.0, 2.0), prior_share=0.4, colors=False,
            also=("given",) if isinstance(study.task, Conditional) else (),
        )  # fmt: skip
    return use(
        study.probed, study.task, preimage, n_members=n, n_others=n, features=features, given=held, outputs=outputs,
        seed=seed,
    )  # fmt: skip
