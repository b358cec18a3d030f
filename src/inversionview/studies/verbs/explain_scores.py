"""What an expression about an activation is worth, and whether it says anything."""

from __future__ import annotations

from collections.abc import Mapping

from inversionview.reading.conditions import checked_condition
from inversionview.reading.explanation.finding import holds_for
from inversionview.reading.explanation.scores import LEAST_DETECTION, detection_scores, shares_of
from inversionview.results.explanation import CONSISTENCY, DETECTION, GENERATION, OTHERS, Score
from inversionview.studies.verbs.explain_inputs import Look, Written, counted
from inversionview.tasks.base import Task

MOST_FIT = 0.9
"""Share of random inputs that fit an explanation, or are members, from which on it says nothing: next to nothing is
excluded.
"""


def why_nothing(detection: Score, scores: Mapping[str, Score]) -> str:
    """Why an explanation says nothing about its activation; empty where it does say something.

    `detection`: on inputs on which it was not found.
    """
    generation, others = (scores.get(name) for name in (GENERATION, OTHERS))
    if detection.interval is None:
        return detection.why_not or "it could not be scored"
    if detection.interval[0] <= LEAST_DETECTION:
        return "members are told from others no better than by chance"
    fitting = scores[CONSISTENCY].floor if CONSISTENCY in scores else None
    if fitting is not None and fitting >= MOST_FIT:
        return f"{fitting:.0%} of all inputs fit it"
    if generation is not None and (generation.floor or 0.0) >= MOST_FIT:
        return f"{generation.floor:.0%} of all inputs are members"
    if generation is None or generation.interval is None or others is None or others.value is None:
        return ""
    as_often = generation.interval[0] <= others.value
    return "what fits it is as often inside ε of other activations" if as_often else ""


def scored(task: Task, text: str, look: Look, written: Written) -> tuple[dict[str, Score], Score]:
    """The scores of an expression, of which generation leads, and detection on inputs on which it was not found."""
    expression, evidence = checked_condition(task, text), look.evidence
    base = written.base(expression)
    shares = shares_of(evidence, holds_for(task, expression, evidence.tokens, evidence.positions))
    of_words, generation = detection_scores(shares, base), None
    unseen = of_words[DETECTION]
    if look.whole is not None:
        of_all = counted(expression, look)
        of_words = detection_scores(of_all.shares, of_all.base, exact=True)
        generation = of_all.generation
    tried = written.tried(expression, look)
    return {GENERATION: generation or tried[GENERATION]} | of_words | {OTHERS: tried[OTHERS]}, unseen
