"""Measures what the page on indirect object identification says."""

from __future__ import annotations

from typing import Any

import torch

from inversionview.reading.conditions import holds
from inversionview.shapes import Tokens
from inversionview.studies.study import Study, load_study
from inversionview.tasks.outputs import exact_match
from inversionview.tasks.positions import last_eligible
from research import ioi_page, site_study
from research.site_study import Plan, Words, drawn

STUDY = "ioi-small"
PLAN = Plan(ioi_page.ATS, ioi_page.FEATURES, ioi_page.TARGET, ioi_page.SETTINGS, ioi_page.GROUPS)


def measure(n: int, queries: int) -> dict[str, Any]:
    """All that the page says of the bundled study: accuracy on `n` sentences, the rest on a tenth of them or fewer."""
    return measured(load_study(STUDY), n, queries * 4)


def measured(study: Study, n: int, queries: int) -> dict[str, Any]:
    """The same of any study of this task, with so many queries a cell of the map."""
    tokens = drawn(study, max(10, n // 10), split="held-out")
    data: dict[str, Any] = {"study": study.name, "domain": study.task.size, "epsilon": study.criterion.largest}
    data |= site_study.sides(study, PLAN, tokens, words(study, tokens), queries)
    data |= site_study.steps(
        study,
        {
            "accuracy": lambda: accuracy(study, n),
            "attention": lambda: site_study.attention(study, tokens, ioi_page.LOOKS),
            "decoder": lambda: site_study.rates(study, n // 40),
        },
    )
    return data | {"example": site_study.example(study, data, site_study.heads_of(study))}


def accuracy(study: Study, n: int) -> dict[str, Any]:
    """How many answers of the probed model are right, by what of a sentence was held out; `n` sentences of all."""
    task, tokens, counts = study.task, drawn(study, n), {}
    for value in task.features["held out"].values:
        rows = tokens[holds(task, f"`held out` == '{value}'", tokens, last_eligible(task, tokens))]
        if len(rows):
            counts[value] = {"n": len(rows), "right": round(len(rows) * exact_match(study.probed, task, rows))}
    return counts


def words(study: Study, tokens: Tokens) -> dict[str, Words]:
    """Both names as the words that they are."""
    task: Any = study.task
    names = task.features["IO"].values
    weights = torch.zeros(len(names), task.vocab_size)
    for value, name in enumerate(names):
        weights[value, task.vocabulary.ids(f" {name}")[-1]] = 1.0
    at = last_eligible(task, tokens)
    return {name: Words(weights, task.features[name].compute(tokens, at)) for name in ioi_page.NAMES}
