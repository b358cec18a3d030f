"""Words about an activation by a language model: what it proposes, and how that fares on inputs it was not shown."""

from __future__ import annotations

import torch
from torch import Generator

from inversionview.errors import UserError
from inversionview.files import cache_folder
from inversionview.reading.conditions import checked_condition
from inversionview.reading.explanation.by_model import detect, propose, write
from inversionview.reading.explanation.endpoint import Endpoint
from inversionview.reading.explanation.evidence import KINDS, MEMBER, RANDOM, Shares
from inversionview.reading.explanation.scores import detection_scores
from inversionview.reading.explanation.showing import shown_of, texts_of
from inversionview.results.explanation import DETECTION, Explanation, Score
from inversionview.seeds import mixed
from inversionview.shapes import Positions, Tokens
from inversionview.studies.settings import BY_FEATURES, ExplainSettings
from inversionview.studies.verbs.explain_inputs import ASKED, Look, Written
from inversionview.studies.verbs.explain_scores import scored, why_nothing
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role

SECONDS = 300.0
"""Until a request is given up: a server on a laptop takes its time."""
TEXTS = 10
"""Inputs of each kind that a model is asked about, one request each."""
WRITTEN = 20
"""Inputs that it writes, in two requests at most."""


def endpoint_of(settings: ExplainSettings) -> Endpoint | None:
    """What the settings ask; None where features alone are asked for. Raises `UserError` as `Endpoint` does."""
    if settings.by == BY_FEATURES:
        return None
    if "://" not in settings.by:
        raise UserError(f"by must be features, or a URL such as http://localhost:8000/v1, not {settings.by!r}")
    if not settings.by_model:
        raise UserError("say which model the endpoint is to run: --by-model NAME (by_model='NAME')")
    return Endpoint(
        settings.by, settings.by_model, timeout=SECONDS, cache=cache_folder("answers"), longest=settings.by_tokens
    )


def by_model(task: Task, look: Look, written: Written, endpoint: Endpoint, seed: int) -> Explanation:
    """What a model says of members that it is shown, scored on others.

    An expression that it gives is scored as a rule is; words alone by asking it again, at most five times.
    """
    proposal = propose(shown_of(task, look.evidence, look.query), endpoint)
    expression = _usable(task, proposal.expression)
    if expression is not None:
        scores, unseen = scored(task, expression, look, written)
    elif proposal.words:
        scores, unseen = _scored_by_asking(task, proposal.words, look, written, endpoint, seed)
    else:
        return Explanation("", None, endpoint.model, {}, says_nothing="its answer holds no explanation")
    words = proposal.words or str(expression)
    return Explanation(words, expression, endpoint.model, scores, says_nothing=why_nothing(unseen, scores))


def _usable(task: Task, text: str | None) -> str | None:
    """The expression, where it is a condition over the task's features."""
    if text is None:
        return None
    try:
        checked_condition(task, text)
    except UserError:
        return None
    return text


def _scored_by_asking(
    task: Task, words: str, look: Look, written: Written, endpoint: Endpoint, seed: int
) -> tuple[dict[str, Score], Score]:
    generator = Generator().manual_seed(mixed(seed, ASKED))
    texts, kinds = texts_of(task, look.evidence, TEXTS, generator)
    answers = detect(words, texts, endpoint, together=TEXTS)
    shares = {}
    for kind in KINDS:
        given = [answer for answer, of in zip(answers, kinds, strict=True) if of == kind and answer is not None]
        if given:
            shares[kind] = Shares(sum(given) / len(given), float(len(given)))
    if MEMBER not in shares or len(shares) < 2:
        unread = Score(None, None, 0.5, 0, "its answers about inputs could not be read")
        return {DETECTION: unread}, unread
    base = shares.get(RANDOM, Shares(float("nan"), 0.0))
    scores = detection_scores(shares, base)
    own = write(words, look.query.needed_input("an explanation"), WRITTEN, endpoint)
    tried = written.inside(*_encoded(task, own, look), look, len(own))
    (generation, generated), *others = tried.items()
    return {generation: generated, **scores, **dict(others)}, scores[DETECTION]


def _encoded(task: Task, texts: list[str], look: Look) -> tuple[Tokens, Positions]:
    """Those that are inputs of the domain with the query's role, and its positions there."""
    rows = torch.full((len(texts), task.max_length), task.pad)
    there = torch.zeros(len(texts), dtype=torch.bool)
    for row, text in enumerate(texts):
        try:
            tokens = task.encode(text)
        except UserError:
            continue
        rows[row, : len(tokens)], there[row] = tokens, True
    rows = rows[there]
    positions = eligible_role(task, rows, look.query.role)
    return rows[positions >= 0], positions[positions >= 0]
