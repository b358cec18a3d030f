"""What the pages of `ioi-small` and `facts-small` measure alike: bits, patching and attribution of every site.

Bits are of exact preimages: both domains are enumerated.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inversionview.causal.logit_attribution import LogitAttribution, logit_attribution
from inversionview.reading.feature_map import MapCell, feature_map
from inversionview.shapes import Positions, Tokens
from inversionview.studies.study import Study
from research.documents import Document
from research.site_page import Setting, moved, place_of, shows

SEED = 0
SHOWN = 8
"""Members of the worked example that are shown, and tokens at each end of its attribution."""


class Words(NamedTuple):
    """A feature's values as words that attribution can show, and the value of each input."""

    weights: Float[Tensor, "value vocab"]
    """Of the vocabulary, for each value: its own words, with weights that add up to 1."""
    codes: Positions


class Plan(NamedTuple):
    """What a page is about."""

    ats: Sequence[str]
    """Positions at which every site is read."""
    features: Sequence[str]
    target: str
    settings: Mapping[str, Setting]
    """What is patched in, by name."""
    groups: Sequence[Sequence[str]]
    """Sites that are patched together."""


def steps(study: Study, measures: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each of these measures, one after the other."""
    documents = {}
    for name, measure in measures.items():
        documents[name] = measure()
        print(f"{study.name}: measured {name}", file=sys.stderr, flush=True)
    return documents


def drawn(study: Study, n: int, **options: Any) -> Tokens:
    """Random inputs of a study, the same each time."""
    return study.task.sample(n, generator=torch.Generator().manual_seed(SEED), **options)


def heads_of(study: Study) -> list[str]:
    """All heads, in the order of a forward."""
    return [site for site in study.sites if site.startswith("a")]


def rates(study: Study, n: int) -> dict[str, Any] | None:
    """How good the decoder is, if there is one."""
    return study.evaluate(max(2, n), cells=0).to_dict() if study.parts.has_decoder else None


def sides(study: Study, plan: Plan, tokens: Tokens, words: Mapping[str, Words], queries: int) -> dict[str, Any]:
    """Bits, patching and attribution: on `queries` random inputs a cell of the map, else on as many as `tokens`."""
    measures: dict[str, Callable[[], Any]] = {
        "map": lambda: site_map(study, plan, queries),
        "patching": lambda: patching(study, plan, len(tokens)),
        "attribution": lambda: attribution(study, tokens, plan.ats, words),
    }
    return steps(study, measures)


def site_map(study: Study, plan: Plan, queries: int) -> dict[str, Any]:
    """Exact bits of every site, a mean over those of some random inputs that have the position."""
    task, tokens, epsilon = copy.copy(study.task), drawn(study, queries), study.criterion.largest
    assert epsilon is not None
    of_page: Any = task  # only these features: each is computed for the whole domain
    of_page.features = {name: study.task.features[name] for name in plan.features}
    limits = {(site, at): epsilon for site in study.sites for at in plan.ats}
    having = {at: tokens[task.position_of(tokens, at) >= 0] for at in plan.ats}
    cells = feature_map(study.probed, task, study.sites, having, epsilon=limits)
    return {"epsilon": epsilon, "queries": queries, "cells": [_cell(cell) for cell in cells]}


def patching(study: Study, plan: Plan, n: int) -> dict[str, Any]:
    """Every setting: each site alone at each of its places, and the groups of sites together."""
    documents = {}
    for name, setting in plan.settings.items():
        options: dict[str, Any] = {"target": plan.target, "contrast": setting.contrast, "n": n, "seed": SEED}
        places = [place_of(site, at) for at in setting.ats for site in study.sites]
        document: Any = study.patch(sites=places, order="each", **options).to_dict()
        for group in plan.groups:
            document["effects"] += study.patch(sites=group, order="together", **options).to_dict()["effects"]
        documents[name] = document
    return documents


def attribution(study: Study, tokens: Tokens, ats: Sequence[str], words: Mapping[str, Words]) -> dict[str, Any]:
    """What every site adds directly to the logits at each of `ats`: how a feature's words rank there."""
    cells = []
    for at in ats:
        positions = study.task.position_of(tokens, at)
        there = positions >= 0
        for site in study.sites:
            added = logit_attribution(study.probed, tokens[there], site, positions[there]).values.float().cpu()
            ranks = {name: _ranked(added @ of.weights.T, of.codes[there]) for name, of in words.items()}
            cells.append({"site": site, "at": at, "shown": ranks})
    return {"n": len(tokens), "cells": cells}


def attention(study: Study, tokens: Tokens, looks: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """How much each head attends from some positions to others, and to which word most, in the mean over inputs."""
    heads: dict[str, Any] = {head: {} for head in heads_of(study)}
    rows, task = torch.arange(len(tokens)), study.task
    for layer in range(study.probed.n_layers):
        pattern = study.probed.attention(tokens, layer).float().cpu()
        for at, targets in looks.items():
            there = pattern[rows, :, task.position_of(tokens, at)]
            for head in range(study.probed.n_heads):
                words = torch.zeros(task.vocab_size).index_add_(0, tokens.flatten(), there[:, head].flatten())
                heads[f"a{layer}.{head}"][at] = {
                    "to": {to: float(there[rows, head, task.position_of(tokens, to)].mean()) for to in targets},
                    "word": [_word(study, int(words.argmax())), float(words.max()) / len(tokens)],
                }
    return {"n": len(tokens), "heads": heads}


def example(study: Study, data: Document, heads: Sequence[str]) -> dict[str, Any]:
    """One query at the head that moves the answer most, of those where attribution and preimage differ if there are.

    The exact preimage of the first held-out input, some members from the nearest to the furthest, and the tokens at
    both ends of the head's attribution.
    """
    names = data["attribution"]["cells"][0]["shown"]
    apart = [site for site in heads if any(len(set(shows(data, site, name))) > 1 for name in names)]
    site = max(apart or heads, key=lambda head: max(moved(data, name, head, "END") for name in data["patching"]))
    tokens = drawn(study, 1, split="held-out")
    query = study.query(study.task.decode(tokens[0]), "END", site)
    preimage = study.exact_preimage(query)
    rows = np.linspace(0, len(preimage.inputs) - 1, min(SHOWN, len(preimage.inputs))).round().astype(int)
    added = logit_attribution(study.probed, tokens, site, query.position)
    features = data["map"]["cells"][0]["bits"]
    return {
        "input": query.input, "site": site, "at": "END", "inside": len(preimage.inputs),
        "bits": {one.name: {"bits": one.bits, "of": one.of} for one in preimage.bits if one.name in features},
        "members": [{"input": preimage.inputs[i], "distance": float(preimage.distances[i])} for i in rows],
        "top": _words(study, added, top=True), "bottom": _words(study, added, top=False),
    }  # fmt: skip


def _words(study: Study, added: LogitAttribution, *, top: bool) -> list[Any]:
    n = min(SHOWN, study.task.vocab_size)
    tokens, values = added.top(n) if top else added.bottom(n)
    return [[_word(study, token), value] for token, value in zip(tokens[0].tolist(), values[0].tolist(), strict=True)]


def _word(study: Study, token: int) -> str:
    return str(study.probed.tokenizer.convert_ids_to_tokens([token])[0]).lstrip(" Ġ▁")


def _cell(cell: MapCell) -> dict[str, Any]:
    n = len(cell.size_bits)

    def mean(values: Float[np.ndarray, " query"]) -> tuple[float, float]:
        return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))

    size, size_se = mean(cell.size_bits)
    bits = {}
    for i, name in enumerate(cell.features):
        about, se = mean(cell.bits[:, i])
        bits[name] = {"bits": about, "of": float(cell.of[i]), "se": se}
    return {"site": cell.site, "at": cell.role, "size": size, "size_se": size_se, "bits": bits}


def _ranked(scores: Float[Tensor, "batch value"], codes: Positions) -> dict[str, float]:
    """How an input's own value ranks (0 where none is raised more), how often it is first or last, and by how much.

    `above`: what is added to it, less the mean of all values.
    """
    own = scores.gather(1, codes[:, None])
    above = (own[:, 0] - scores.mean(dim=1)).double()
    more, less = (scores > own).sum(dim=1), (scores < own).sum(dim=1)
    return {
        "above": above.mean().item(), "above_se": (above.std() / len(above) ** 0.5).item(),
        "rank": more.double().mean().item(),
        "raised": (more == 0).double().mean().item(), "lowered": (less == 0).double().mean().item(),
    }  # fmt: skip
