"""What activations say, in words that are scored: a rule is found on some inputs, and tried on others."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Generator

from inversionview.bank.bank import Bank
from inversionview.causal.use import use
from inversionview.causal.verdicts import difference_verdict
from inversionview.criterion import Criterion, Metric
from inversionview.errors import UserError
from inversionview.preimage.domain import checked_enumerable
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import query_activations
from inversionview.progress import advance, stage
from inversionview.reading.conditions import checked_condition, evaluated
from inversionview.reading.explanation.endpoint import Endpoint
from inversionview.reading.explanation.evidence import FEWEST_MEMBERS, FEWEST_OTHERS
from inversionview.results.estimators import clopper_pearson
from inversionview.results.explanation import Explanation, Score
from inversionview.results.explanations import Explanations, SiteExplanation, SiteExplanations, Told, in_words
from inversionview.results.preimage import Query
from inversionview.results.use import FeatureUse
from inversionview.seeds import mixed
from inversionview.sites import Site
from inversionview.studies.banks import bank_for
from inversionview.studies.parts import Parts, checked_site, counts_all, decoder_for, measured, part_of
from inversionview.studies.settings import BY_FEATURES, ExplainSettings, ReadSettings
from inversionview.studies.verbs.explain_by_features import by_features
from inversionview.studies.verbs.explain_by_model import by_model, endpoint_of
from inversionview.studies.verbs.explain_inputs import (
    MOST_DISTANCES,
    QUERIES,
    Look,
    Whole,
    Written,
    look_at_draws,
    look_in_bank,
    look_in_domain,
)
from inversionview.studies.verbs.query import make_query
from inversionview.studies.verbs.read import read
from inversionview.tasks.base import Feature, Task
from inversionview.tasks.positions import eligible_role


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
    if settings.given is not None:
        part, words = part_of(parts, query, settings.given)
        of_part = explain(part, query, criterion, dataclasses.replace(settings, given=None), endpoint=endpoint)
        return dataclasses.replace(of_part, given=words)
    [one] = _explained(parts, [query], criterion, settings, endpoint)
    return one


def explain_sites(
    parts: Parts, sites: Sequence[str], at: str | int, criterion: Criterion, settings: ExplainSettings
) -> SiteExplanations:
    """Put what sites say at a position into words, each from activations of the same random inputs."""
    if settings.queries < 1:
        raise UserError(f"queries must be at least 1, such as 100, not {settings.queries}")
    for name, value, default in (("by", settings.by, BY_FEATURES), ("given", settings.given, None)):
        if value != default:
            raise UserError(f"sites are explained by features alone, over the whole domain: leave out {name}")
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
    written = Written(parts, queries[0], criterion.metric, settings)
    explained = []
    for look in looks(parts, queries, criterion, settings):
        explained.append(_of_one(parts, look, written, settings, endpoint))
        advance(1)
    return explained


def looks(parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings) -> Iterator[Look]:
    """What lies around activations at one site and role: all inputs where they are counted, or a bank, or draws."""
    exact = counts_all(parts) if settings.exact is None else settings.exact
    if exact:
        checked_enumerable(parts.task)
        yield from _in_domain(parts, queries, criterion, settings)
    elif decoder_for(parts, queries) is None:
        yield from _in_bank(parts, queries, criterion, settings)
    else:
        sampling = ReadSettings(
            settings.n, settings.seed, temperatures=(1.0, 2.0), prior_share=0.4, colors=False, explain=False
        )
        for query in queries:
            [preimage] = read(parts, [query], criterion, sampling)
            yield look_at_draws(preimage, settings)


def _in_domain(
    parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings
) -> Iterator[Look]:
    task, whole = parts.task, Whole(parts.task, queries[0].role)
    limits = [epsilon.value for epsilon in measured(parts, queries, criterion, settings.seed)]
    together = max(1, MOST_DISTANCES // (task.size or 1))
    for start in range(0, len(queries), together):
        some = slice(start, start + together)
        table = np.full((len(queries[some]), task.size or 0), np.inf, dtype=np.float32)
        preimages = exact_preimages(
            parts.probed, task, queries[some], criterion=criterion.but(limits[some]), into=table
        )
        for preimage, distances in zip(preimages, table, strict=True):
            yield look_in_domain(whole, preimage.query, preimage.epsilon, distances, settings, preimage)


def _in_bank(parts: Parts, queries: Sequence[Query], criterion: Criterion, settings: ExplainSettings) -> Iterator[Look]:
    bank: Bank = bank_for(parts, [Site.named(queries[0].site)], [queries[0].role], n=settings.n)
    epsilons = measured(parts, queries, criterion, settings.seed, bank=bank)
    activations = query_activations(parts.probed, parts.task, queries)
    for query, epsilon, z_q in zip(queries, epsilons, activations, strict=True):
        yield look_in_bank(bank, query, epsilon.value, z_q, criterion.metric, settings)


# What is said of it


def _of_one(
    parts: Parts, look: Look, written: Written, settings: ExplainSettings, endpoint: Endpoint | None
) -> Explanations:
    members, exact = look.evidence.members, look.whole is not None
    explanations = [by_features(parts.task, look, written)]
    if endpoint is not None and members >= FEWEST_MEMBERS and look.evidence.others >= FEWEST_OTHERS:
        explanations.insert(0, by_model(parts.task, look, written, endpoint, settings.seed))
    if settings.used:
        explanations = [_with_use(parts, look, one, written.metric, settings) for one in explanations]
    cost = None if endpoint is None else endpoint.cost
    return Explanations(parts.name, look.query, look.epsilon, members, exact, settings.seed, tuple(explanations), cost)


def _with_use(parts: Parts, look: Look, one: Explanation, metric: Metric, settings: ExplainSettings) -> Explanation:
    """The same with whether the model uses what it says, as a feature that inputs have or have not."""
    if one.expression is None or one.says_nothing:
        return one
    expression, task, preimage = checked_condition(parts.task, one.expression), parts.task, look.preimage
    if preimage is None:
        sampling = ReadSettings(settings.n, settings.seed, colors=False, explain=False)
        criterion = parts.criterion.but(look.epsilon, metric)
        [preimage] = read(parts, [look.query], criterion, sampling)
    said = Feature(
        one.words, ("no", "yes"), lambda tokens, at: evaluated(task, expression, tokens, at).long(), "what is said"
    )
    n = settings.written
    done = use(
        parts.probed, task, preimage, n_members=n, n_others=n, features=[said], pool=look.pool(), seed=settings.seed
    )  # fmt: skip
    # Words that were scored are encoded: of a rare feature that members have, entropy would not tell.
    verdict, why_not = difference_verdict(done.features[0], done.drawn)
    return dataclasses.replace(one, used=dataclasses.replace(done.features[0], verdict=verdict, why_not=why_not))


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
    tried = [one.used for one in says if one.used is not None]
    used = _used(tried) if tried else None
    return SiteExplanation(site, at, in_words(told, len(scoreable)), len(scoreable), told, scores, used)


def _used(tried: Sequence[FeatureUse]) -> Score:
    known = [one.verdict for one in tried if one.verdict is not None]
    if not known:
        return Score(None, None, None, 0, tried[0].why_not)
    hits = known.count("used")
    return Score(hits / len(known), clopper_pearson(hits, len(known)), None, len(known))


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
