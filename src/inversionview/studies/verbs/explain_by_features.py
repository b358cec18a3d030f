"""Words about an activation by a rule over features: for one look at it, and as a line of readings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from inversionview.bank.bank import Bank
from inversionview.preimage.sampled import query_activations
from inversionview.reading.explanation.evidence import FEWEST_MEMBERS, FEWEST_OTHERS
from inversionview.reading.explanation.finding import found_rule
from inversionview.reading.information import prior_draws
from inversionview.results.explanation import Explanation
from inversionview.results.preimage import Preimage
from inversionview.studies.parts import Parts
from inversionview.studies.settings import ExplainSettings
from inversionview.studies.verbs.explain_inputs import (
    Banked,
    Look,
    Whole,
    Written,
    look_at_draws,
    look_in_bank,
    look_in_domain,
)
from inversionview.studies.verbs.explain_scores import scored, why_nothing
from inversionview.tasks.base import Task

NOTHING = "nothing that the features name"
"""The words of an explanation that says nothing."""
DRAWN, WRITTEN = 4000, (20, 100)
"""For a line of a reading: random inputs from the prior that are looked at, and the fewest and the most inputs that are
written and run, of which there is one for ten candidates; of a bank, the most.
"""


def by_features(task: Task, look: Look, written: Written) -> Explanation:
    """The rule that tells members from others, with its scores; or that it says nothing, and why."""
    members = look.evidence.members
    if members < FEWEST_MEMBERS:
        few = f"{members} member{'' if members == 1 else 's'} beside the query, too few to score: take a larger epsilon"
        return Explanation(NOTHING, None, "features", {}, says_nothing=few)
    if look.evidence.others < FEWEST_OTHERS:
        return Explanation(NOTHING, None, "features", {}, says_nothing=_few_others(look))
    rule = found_rule(task, look.evidence, look.query, written.drawn)
    if rule is None:
        return Explanation(NOTHING, None, "features", {}, says_nothing="no feature tells members from other inputs")
    scores, unseen = scored(task, rule.text, look, written)
    why = why_nothing(unseen, scores)
    if why:
        return Explanation(NOTHING, None, "features", scores, says_nothing=f"{why} (the best rule: {rule.words})")
    return Explanation(rule.words, rule.text, "features", scores, rule.about)


def _few_others(look: Look) -> str:
    if look.distances is None and look.evidence.base_rate.share < 0.5:
        return "too few inputs that are no members were drawn to score: draw more"
    return "nearly all inputs are members, too few others to score: take a smaller epsilon"


# As a line of readings


def explained_draws(parts: Parts, preimages: Sequence[Preimage], seed: int) -> list[Preimage]:
    """Readings of draws with their explanations: inputs that fit these are run."""
    return _explained(parts, preimages, seed, lambda i, settings: look_at_draws(preimages[i], settings))


def explained_from_bank(parts: Parts, preimages: Sequence[Preimage], seed: int, bank: Bank) -> list[Preimage]:
    """Readings from a bank with their explanations: nothing is run but the queries."""

    def look(i: int, settings: ExplainSettings) -> Look:
        query, epsilon, metric = preimages[i].query, preimages[i].epsilon, preimages[i].metric
        [z_q] = query_activations(parts.probed, parts.task, [query])
        return look_in_bank(bank, query, epsilon, z_q, metric, settings)

    return _explained(parts, preimages, seed, look, bank)


def explained_in_domain(
    parts: Parts, preimages: Sequence[Preimage], seed: int, distances: Float[np.ndarray, "query input"]
) -> list[Preimage]:
    """Exact readings with their explanations, by the distances of all inputs."""
    domains = {role: Whole(parts.task, role) for role in {preimage.query.role for preimage in preimages}}

    def look(i: int, settings: ExplainSettings) -> Look:
        query, epsilon = preimages[i].query, preimages[i].epsilon
        return look_in_domain(domains[query.role], query, epsilon, distances[i], settings)

    return _explained(parts, preimages, seed, look)


def _explained(
    parts: Parts,
    preimages: Sequence[Preimage],
    seed: int,
    look: Callable[[int, ExplainSettings], Look],
    bank: Bank | None = None,
) -> list[Preimage]:
    """Those that can be with their explanations: of an input, read at its role, by features that the task has."""
    written: dict[tuple[str, str], Written] = {}
    explained = []
    for i, preimage in enumerate(preimages):
        query, n = preimage.query, WRITTEN[1]
        if bank is None:
            n = min(max(WRITTEN[0], preimage.n_drawn // 10), n)
        if not (query.input and query.role and parts.task.features and preimage.position_rule == "same"):
            explained.append(preimage)
            continue
        settings = ExplainSettings(written=n, seed=seed)
        place = query.site, query.role
        if place not in written:
            if bank is None:
                some = prior_draws(parts.task)[:DRAWN]
                written[place] = Written(parts, query, preimage.metric, settings, some)
            else:
                written[place] = Banked(parts, bank, query, preimage.metric, settings)
        words = by_features(parts.task, look(i, settings), written[place])
        explained.append(dataclasses.replace(preimage, explanation=words))
    return explained
