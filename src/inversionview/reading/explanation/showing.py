"""What a language model is shown of an activation: inputs of each kind, from the side for finding alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Generator

from inversionview.reading.explanation.by_model import Shown
from inversionview.reading.explanation.evidence import KINDS, MEMBER, NEAR, RANDOM, Evidence
from inversionview.reading.information import codes_of, entropy
from inversionview.results.map import UNASKED
from inversionview.results.preimage import Query
from inversionview.tasks.base import Feature, Task

NEAREST, SPREAD, OTHERS = 8, 12, 10
"""Members shown: the nearest, and others; and inputs of each other kind."""
LEAST_BITS, MOST_LINES = 0.1, 12


def shown_of(task: Task, evidence: Evidence, query: Query) -> Shown:
    """The query, members, near misses and random inputs, and what is known of features."""
    members = _nearest_first(evidence, MEMBER)
    spread = (
        members[NEAREST:][np.linspace(0, max(0, len(members) - NEAREST - 1), SPREAD).astype(int)]
        if len(members) > NEAREST + SPREAD
        else members[NEAREST:]
    )
    near, random = _nearest_first(evidence, NEAR)[:OTHERS], np.flatnonzero(evidence.rows(RANDOM, scored=False))[:OTHERS]
    features = _features(task)
    return Shown(
        query=marked(query),
        task=task.about,
        role=query.role,
        members=_texts(task, evidence, np.concatenate([members[:NEAREST], spread])),
        near_misses=_texts(task, evidence, near),
        random=_texts(task, evidence, random),
        bits=tuple(_known(features, evidence)),
        features={feature.name: feature.values for feature in features},
    )


def marked(query: Query) -> str:
    """The query's input with « and » around the token that is read."""
    strings = [*query.token_strings]
    strings[query.position] = f"«{strings[query.position]}»"
    return "".join(strings[1:-1]).strip()


def texts_of(task: Task, evidence: Evidence, n: int, generator: Generator) -> tuple[list[str], list[int]]:
    """So many inputs of each kind from the side for scoring, in mixed order, and their kinds."""
    rows: list[int] = []
    for kind in KINDS:
        there = np.flatnonzero(evidence.rows(kind, scored=True))
        rows += there[torch.randperm(len(there), generator=generator)[:n].numpy()].tolist()
    mixed = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
    return list(_texts(task, evidence, np.array(mixed, dtype=np.int64))), evidence.kinds[mixed].tolist()


def _nearest_first(evidence: Evidence, kind: int) -> Int[np.ndarray, " row"]:
    rows = np.flatnonzero(evidence.rows(kind, scored=False))
    ordered: Int[np.ndarray, " row"] = rows[np.argsort(evidence.distances[rows], kind="stable")]
    return ordered


def _texts(task: Task, evidence: Evidence, rows: Int[np.ndarray, " row"]) -> tuple[str, ...]:
    return tuple(task.decode(torch.from_numpy(evidence.tokens[row]).long()) for row in rows.tolist())


def _features(task: Task) -> list[Feature]:
    return [feature for name, feature in task.features.items() if name not in UNASKED]


def _known(features: list[Feature], evidence: Evidence) -> Iterator[str]:
    """What members leave open of each feature, beside what random inputs do; the most that is known first."""
    lines = []
    for feature in features:
        left = []
        for kind in (MEMBER, RANDOM):
            rows = evidence.rows(kind, scored=False)
            tokens, positions = (torch.from_numpy(part[rows]).long() for part in (evidence.tokens, evidence.positions))
            codes = codes_of([feature], tokens, positions)[0]
            left.append(float(entropy(np.bincount(codes, weights=evidence.weights[rows]))))
        known = left[1] - left[0]
        if known >= LEAST_BITS:
            lines.append((known, f"{feature.name}: {known:.1f} of {left[1]:.1f} bits known"))
    yield from (line for _, line in sorted(lines, key=lambda one: -one[0])[:MOST_LINES])
