"""What activations say, in words that are scored: a rule is found on some inputs, and tried on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch import Generator

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.progress import advance, stage
from inversionview.reading.explanation.endpoint import Endpoint
from inversionview.reading.explanation.evidence import FEWEST_MEMBERS, FEWEST_OTHERS
from inversionview.reading.explanation.finding import found_rule
from inversionview.results.explanation import (
    Explanation,
    Explanations,
    Score,
    SiteExplanation,
    SiteExplanations,
    Told,
    in_words,
)
from inversionview.results.preimage import Query
from inversionview.seeds import mixed
from inversionview.studies.parts import Parts, checked_site
from inversionview.studies.settings import BY_FEATURES, ExplainSettings
from inversionview.studies.verbs.explain_by_model import by_model, endpoint_of
from inversionview.studies.verbs.explain_inputs import QUERIES, Look, Written, looks
from inversionview.studies.verbs.explain_scores import scored, why_nothing
from inversionview.studies.verbs.query import make_query
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role

NOTHING = "nothing that the features name"
"""The words of an explanation that says nothing."""


def explain(
    parts: Parts,
    query: Query,
    criterion: Criterion,
    settings: ExplainSettings,
    *,
    endpoint: Endpoint | None = None,
) -> Explanations:
    """Put one activation into words; see `Study.explain`, and for what raises `UserError`.

    `endpoint`: the language model to ask, in place of what the settings say.
    """
    checked_site(parts, query.site)
    query.needed_input("an explanation")
    endpoint = endpoint_of(settings) if endpoint is None else endpoint
    [one] = _explained(parts, [query], criterion, settings, endpoint)
    return one


def explain_sites(
    parts: Parts, sites: Sequence[str], at: str | int, criterion: Criterion, settings: ExplainSettings
) -> SiteExplanations:
    """Put what sites say at a position into words, each from activations of the same random inputs."""
    if settings.queries < 1:
        raise UserError(f"queries must be at least 1, such as 100, not {settings.queries}")
    if settings.by != BY_FEATURES:
        raise UserError("sites are explained by features alone: leave out by")
    generator = Generator().manual_seed(mixed(settings.seed, QUERIES))
    texts = _texts_with(parts.task, str(at), settings.queries, generator)
    found = []
    with stage("explain", len(sites) * len(texts)):
        for site in sites:
            queries = [make_query(parts, text, at, site) for text in texts]
            found.append(_of_site(site, str(at), _explained(parts, queries, criterion, settings)))
    return SiteExplanations(parts.name, str(at), tuple(found), settings.seed)


def _texts_with(task: Task, role: str, n: int, generator: Generator) -> list[str]:
    """Random inputs that have a role. Raises `UserError` where there are none."""
    for draws in (4 * n, 400 * n):
        tokens = task.sample(draws, generator=generator)
        having = tokens[eligible_role(task, tokens, role) >= 0][:n]
        if len(having) == n:
            break
    if not len(having):
        raise UserError(f"none of {draws:,} inputs from the prior has a position {role!r}")
    return [task.decode(row) for row in having]


def _explained(
    parts: Parts,
    queries: Sequence[Query],
    criterion: Criterion,
    settings: ExplainSettings,
    endpoint: Endpoint | None = None,
) -> list[Explanations]:
    """An explanation of each query; all are at one site and role."""
    if criterion.position_rule != "same":
        raise UserError("an explanation is of inputs at the query's role: use position rule same")
    for name, value, such_as in (("n", settings.n, 4000), ("written", settings.written, 200)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, such as {such_as}, not {value}")
    written = Written(parts, queries[0], criterion, settings)
    explained = []
    for look in looks(parts, queries, criterion, settings):
        explained.append(_of_one(parts, look, written, settings, endpoint))
        advance(1)
    return explained


# What is said of it


def _of_one(
    parts: Parts, look: Look, written: Written, settings: ExplainSettings, endpoint: Endpoint | None
) -> Explanations:
    members, exact = look.evidence.members, look.whole is not None
    explanations = [_by_features(parts.task, look, written)]
    if endpoint is not None and members >= FEWEST_MEMBERS and look.evidence.others >= FEWEST_OTHERS:
        explanations.insert(0, by_model(parts.task, look, written, endpoint, settings.seed))
    cost = None if endpoint is None else endpoint.cost
    return Explanations(parts.name, look.query, look.epsilon, members, exact, settings.seed, tuple(explanations), cost)


def _by_features(task: Task, look: Look, written: Written) -> Explanation:
    members = look.evidence.members
    if members < FEWEST_MEMBERS:
        few = f"{members} member{'' if members == 1 else 's'} beside the query, too few to score: take a larger epsilon"
        return Explanation(NOTHING, None, "features", {}, says_nothing=few)
    if look.evidence.others < FEWEST_OTHERS:
        nearly = "nearly all inputs are members, too few others to score: take a smaller epsilon"
        return Explanation(NOTHING, None, "features", {}, says_nothing=nearly)
    rule = found_rule(task, look.evidence, look.query, written.drawn)
    if rule is None:
        return Explanation(NOTHING, None, "features", {}, says_nothing="no feature tells members from other inputs")
    scores, unseen = scored(task, rule.text, look, written)
    why = why_nothing(unseen, scores)
    if why:
        return Explanation(NOTHING, None, "features", scores, says_nothing=f"{why} (the best rule: {rule.words})")
    return Explanation(rule.words, rule.text, "features", scores, rule.about)


# Of a site


def _of_site(site: str, at: str, explained: Sequence[Explanations]) -> SiteExplanation:
    scoreable = [one.best for one in explained if one.best.scores]
    counts = Counter(", ".join(sorted(one.about)) for one in scoreable)
    first: dict[str, str] = {}
    for one in scoreable:
        first.setdefault(", ".join(sorted(one.about)), one.words)
    told = tuple(Told(about, times / len(scoreable), first[about]) for about, times in counts.most_common())
    says = [one for one in scoreable if not one.says_nothing]
    names = says[0].scores if says else ()
    scores = {name: _mean([one.scores[name] for one in says if name in one.scores]) for name in names}
    return SiteExplanation(site, at, in_words(told, len(scoreable)), len(scoreable), told, scores)


def _mean(scores: Sequence[Score]) -> Score:
    """The mean over activations, with an interval of two standard errors."""
    values = np.array([score.value for score in scores if score.value is not None])
    floors = [score.floor for score in scores if score.floor is not None]
    if not len(values):
        return Score(None, None, None, 0, "no activation has it")
    error = 2 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 1.0
    mean = float(values.mean())
    interval = max(0.0, mean - error), min(1.0, mean + error)
    return Score(mean, interval, float(np.mean(floors)) if floors else None, len(values))
