"""Measures what the page on factual recall says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from inversionview.causal.head_selection import select_heads
from inversionview.shapes import Positions, Tokens
from inversionview.studies.recipes.facts import LENGTH
from inversionview.studies.study import Study, load_study
from inversionview.tasks.facts.files import read_bear
from inversionview.tasks.facts.task import FactsTask
from inversionview.tasks.outputs import exact_match
from inversionview.tasks.vocabulary import Vocabulary
from research import facts_page, site_study
from research.facts_table import SOURCES
from research.paths import SHARED
from research.site_study import Plan, Words, drawn

STUDY = "facts-small"
PLAN = Plan(facts_page.ATS, facts_page.FEATURES, facts_page.TARGET, facts_page.SETTINGS, facts_page.GROUPS)
BEAR, TOKENIZER = SHARED / "data" / "bear", SHARED / "models" / "gpt2_tokenizer"
SELECTED_BY = 500
"""Inputs by which heads are selected, as `heads_at_end` does."""


def measure(n: int, queries: int) -> dict[str, Any]:
    """All that the page says: accuracy on all texts, the rest on a twentieth of `n` inputs or fewer."""
    data = measured(load_study(STUDY), n, queries * 20)
    if BEAR.is_dir() and TOKENIZER.is_dir():
        return data | {"bear": bear(BEAR, TOKENIZER)}
    print("BEAR or GPT-2's tokenizer is not at hand: what was measured of them is left as it is", file=sys.stderr)
    return data


def measured(study: Study, n: int, queries: int) -> dict[str, Any]:
    """The same of any study of this task with as many layers and heads, with so many queries a cell of the map."""
    tokens = drawn(study, max(10, n // 20), split="held-out")
    data: dict[str, Any] = {"study": study.name, "epsilon": study.criterion.largest, "facts": facts(study)}
    data |= site_study.sides(study, PLAN, tokens, words(study, tokens), queries)
    data |= site_study.steps(
        study,
        {
            "accuracy": lambda: accuracy(study),
            "selection": lambda: selection(study),
            "decoder": lambda: site_study.rates(study, n // 100),
        },
    )
    early = [head for head in site_study.heads_of(study) if head not in facts_page.LATE]
    parts = {"late": facts_page.LATE, "early": early}
    return data | {"examples": {name: site_study.example(study, data, heads) for name, heads in parts.items()}}


def facts(study: Study) -> dict[str, Any]:
    """How many facts there are, of what, and from where."""
    features = study.task.features
    counted = {f"{name}s": len(features[name].values) for name in ("relation", "subject", "object", "phrasing")}
    texts, facts = everything(study)
    return {**counted, "facts": len(facts.unique()), "texts": len(texts), "sources": SOURCES}


def everything(study: Study) -> tuple[Tokens, Positions]:
    """All texts [text, pos], and the number [text] of the fact that each says."""
    tokens = torch.cat(list(study.task.enumerate()))
    said = torch.stack([codes(study, name, tokens) for name in ("relation", "subject", "object")], dim=1)
    return tokens, torch.unique(said, dim=0, return_inverse=True)[1]


def codes(study: Study, name: str, tokens: Tokens) -> Positions:
    """What a feature of the text says of each."""
    return study.task.features[name].compute(tokens, torch.ones(len(tokens), dtype=torch.long))


def accuracy(study: Study) -> dict[str, Any]:
    """Of every relation: its facts, and how many of its texts are right, of those held out and of those in training."""
    task, (tokens, facts), counts = study.task, everything(study), {}
    relations, held = codes(study, "relation", tokens), task.is_held_out(tokens)
    for code, relation in enumerate(task.features["relation"].values):
        of = relations == code
        one = {"facts": len(facts[of].unique())}
        for name, side in (("held_out", of & held), ("train", of & ~held)):
            one[name] = int(side.sum())
            one[f"{name}_right"] = round(one[name] * exact_match(study.probed, task, tokens[side]))
        counts[relation] = one
    return counts


def selection(study: Study) -> dict[str, Any]:
    """The head selection at END, on the inputs of `studies.facts_queries.heads_at_end`."""
    tokens = drawn(study, SELECTED_BY)
    return select_heads(study.probed, tokens, study.task.position_of(tokens, "END")).to_dict()


def words(study: Study, tokens: Tokens) -> dict[str, Words]:
    """Objects as the words they are, their kinds as all of these, subjects as their last words."""
    task, (texts, _) = study.task, everything(study)
    objects, subjects = (_at(texts, task.position_of(texts, role)) for role in ("object", "subject_last"))
    values = {
        "object": objects,
        "object kind": objects,
        "subject": subjects,
    }
    at = task.position_of(tokens, "END")
    words_of = {}
    for name, said in values.items():
        weights = torch.zeros(len(task.features[name].values), task.vocab_size)
        weights[codes(study, name, texts), said] = 1.0
        words_of[name] = Words(weights / weights.sum(dim=1, keepdim=True), task.features[name].compute(tokens, at))
    return words_of


def bear(folder: Path, tokenizer: Path) -> dict[str, Any]:
    """What the loader finds in a folder of BEAR, and how many texts that is in another tokenizer."""
    from transformers import AutoTokenizer

    read = read_bear(folder)
    task = FactsTask(Vocabulary(AutoTokenizer.from_pretrained(tokenizer)), read, length=LENGTH)
    return {
        "files": len(list(folder.glob("BEAR/P*.jsonl"))),
        "facts": len(read.facts),
        "relations": len({fact.relation for fact in read.facts}),
        "phrasings": len(read.phrasings),
        "names": sum(len(fact.names) for fact in read.facts),
        "texts": task.size,
        "length": LENGTH,
    }


def _at(tokens: Tokens, positions: Positions) -> Positions:
    return tokens.gather(1, positions[:, None])[:, 0]
