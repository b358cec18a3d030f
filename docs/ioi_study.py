"""Measures what the page on indirect object identification says: bits, patching and attribution of every site.

Bits are of exact preimages: the 307,200 sentences of the small model are enumerated.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from docs.claims import effect_of, whole
from docs.ioi_page import ATS, FEATURES, GROUPS, NAMES, SETTINGS, TARGET, differs, place_of
from inversionview.causal.logit_attribution import LogitAttribution, logit_attribution
from inversionview.reading.conditions import holds
from inversionview.reading.feature_map import MapCell, feature_map
from inversionview.reading.information import last_eligible
from inversionview.shapes import Tokens
from inversionview.studies.study import Study, load_study
from inversionview.studies.train_probed import exact_match
from inversionview.tasks import Task
from inversionview.tasks.ioi_features import HELD_OUT

STUDY = "ioi-small"
SHOWN = 8
"""Members of the worked example that are shown, and tokens at each end of its attribution."""
SEED = 0


def measure(n: int, queries: int) -> dict[str, Any]:
    """All that the page says of the bundled study: accuracy on `n` sentences, the rest on a tenth of them or fewer."""
    return measured(load_study(STUDY), n, queries * 4)


def measured(study: Study, n: int, queries: int) -> dict[str, Any]:
    """The same of any study of this task, with so many queries a cell of the map."""
    few = max(10, n // 10)
    found: dict[str, Any] = {"study": study.name, "domain": study.task.size, "epsilon": study.description.epsilon}
    steps = {
        "accuracy": lambda: accuracy(study, n),
        "map": lambda: site_map(study, queries),
        "patching": lambda: patching(study, few),
        "attribution": lambda: attribution(study, few),
    }
    for name, step in steps.items():
        found[name] = step()
        print(f"{study.name}: measured {name}", file=sys.stderr, flush=True)
    found["example"] = example(study, found)
    found["decoder"] = None if study.description.decoder is None else study.evaluate(max(2, n // 40), cells=0)
    return found


def accuracy(study: Study, n: int) -> dict[str, Any]:
    """How many answers of the probed model are right, by what of a sentence was held out; `n` sentences of all."""
    task = study.task
    tokens = task.sample(n, generator=torch.Generator().manual_seed(SEED), split="all")
    found = {}
    for value in HELD_OUT:
        rows = tokens[holds(task, f"`held out` == '{value}'", tokens, last_eligible(task, tokens))]
        if len(rows):
            found[value] = {"n": len(rows), "right": round(len(rows) * exact_match(study.probed, task, rows))}
    return found


def site_map(study: Study, queries: int) -> dict[str, Any]:
    """Exact bits of every site at `ATS`, a mean over random inputs."""
    task = with_features(study.task, FEATURES)
    tokens = task.sample(queries, generator=torch.Generator().manual_seed(SEED))
    epsilon = study.description.epsilon
    limits = {(site, at): epsilon for site in study.sites for at in ATS}
    found = feature_map(study.probed, task, study.sites, dict.fromkeys(ATS, tokens), epsilon=limits)
    return {"epsilon": epsilon, "queries": queries, "cells": [_cell(cell) for cell in found]}


def with_features(task: Task, names: Sequence[str]) -> Task:
    """The same task with these features only: each of them is computed for the whole domain."""
    part = copy.copy(task)
    part.__dict__["features"] = {name: task.features[name] for name in names}
    return part


def patching(study: Study, n: int) -> dict[str, Any]:
    """Every setting: each site at each place alone, and `GROUPS` of heads together."""
    places = [f"{site}@{at}" for at in ATS for site in study.sites]
    groups = [[f"{site}@{at}" for site in study.sites if site.startswith(layer)] for layer, at in GROUPS]
    found = {}
    for name, contrast in SETTINGS.items():
        asked: dict[str, Any] = {"target": TARGET, "contrast": contrast, "n": n, "seed": SEED}
        document: Any = study.patch(sites=places, order="each", **asked).to_dict()
        for group in filter(None, groups):
            document["effects"] += study.patch(sites=group, order="together", **asked).to_dict()["effects"]
        found[name] = document
    return found


def attribution(study: Study, n: int) -> dict[str, Any]:
    """What every site adds directly to the logits of the names, at each of `ATS`; held-out inputs."""
    tokens = study.task.sample(n, generator=torch.Generator().manual_seed(SEED), split="held-out")
    return {"n": n, "cells": [_added(study, tokens, site, at) for at in ATS for site in study.sites]}


def example(study: Study, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """One query at the head at END that moves the answer most of those where attribution and preimage differ.

    Its exact preimage, some members of it from the nearest to the furthest, and the tokens at both ends of its
    attribution. None where they differ nowhere.
    """
    document = found["patching"]["flip"]
    heads = [site for site in study.sites if site.startswith("a") and any(differs(found, site, f) for f in NAMES)]
    if not heads:
        return None
    share = {site: effect_of(document, [place_of(site, "END")], "each")["drop"] / whole(document) for site in heads}
    site = max(heads, key=lambda head: share[head])
    tokens = study.task.sample(1, generator=torch.Generator().manual_seed(SEED), split="held-out")
    query = study.query(study.task.decode(tokens[0]), "END", site)
    preimage = study.exact_preimage(query)
    rows = np.linspace(0, len(preimage.inputs) - 1, min(SHOWN, len(preimage.inputs))).round().astype(int)
    bits = {f.name: {"bits": f.bits, "of": f.of} for f in preimage.bits if f.name in FEATURES}
    added = logit_attribution(study.probed, tokens, site, query.position)
    return {
        "input": query.input, "site": site, "at": "END", "inside": len(preimage.inputs), "bits": bits,
        "members": [{"input": preimage.inputs[i], "distance": float(preimage.distances[i])} for i in rows],
        "top": _words(study, added, top=True), "bottom": _words(study, added, top=False),
    }  # fmt: skip


def _words(study: Study, added: LogitAttribution, *, top: bool) -> list[Any]:
    n = min(SHOWN, study.task.vocab_size)
    tokens, values = added.top(n) if top else added.bottom(n)
    words = study.probed.tokenizer.convert_ids_to_tokens(tokens[0].tolist())
    return [[word.lstrip(" Ġ▁"), value] for word, value in zip(words, values[0].tolist(), strict=True)]


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


def _ranked(own: Float[Tensor, " batch"], names: Float[Tensor, "batch name"]) -> dict[str, float]:
    """How one name of each input ranks among all (0 where none is raised more), and how often first and last."""
    rank = (names > own[:, None]).sum(dim=1).double()
    first, last = ((rank == place).double().mean().item() for place in (0, names.shape[1] - 1))
    return {"rank": rank.mean().item(), "raised": first, "lowered": last}


def _added(study: Study, tokens: Tokens, site: str, at: str) -> dict[str, Any]:
    task, rows = study.task, torch.arange(len(tokens))
    io, s = (tokens[rows, task.position_of(tokens, role)] for role in (TARGET, "S2"))
    added = logit_attribution(study.probed, tokens, site, task.position_of(tokens, at)).values.cpu()
    of_names = added[:, torch.cat([io, s]).unique()]
    apart = (added[rows, io] - added[rows, s]).double()
    found: dict[str, Any] = {"site": site, "at": at, "difference": apart.mean().item()}
    found["se"] = (apart.std() / len(apart) ** 0.5).item()
    for name, token in zip(NAMES, (io, s), strict=True):
        found[name] = _ranked(added[rows, token], of_names)
    return found
