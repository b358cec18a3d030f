"""Measures what the page on a small story model says, of the study in `runs/stories`, which was trained beforehand.

Its texts cannot be enumerated. The map that heads are chosen by and the readings of these heads, at another position,
are of draws from the model's own prior; the members that are shown are mostly what the decoder proposed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Float

from inversionview.causal.use import use
from inversionview.criterion import Criterion
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource
from inversionview.reading.feature_map import MapCell
from inversionview.reading.hypotheses import is_row
from inversionview.reading.sampled_map import sampled_map
from inversionview.results.preimage import Preimage
from inversionview.shapes import Tokens
from inversionview.studies.description import TRAINING
from inversionview.studies.study import Study, load_study
from inversionview.studies.verbs.map_cells import LEAST_MEMBERS, MOST_SHORT
from inversionview.tasks.base import Split
from inversionview.tasks.positions import eligible_role
from inversionview.tasks.text.task import TextTask
from inversionview.training import saved_config
from research.documents import Document
from research.paths import ROOT
from research.site_study import heads_of
from research.stories_features import add_features
from research.stories_page import CHOSEN_AT, CHOSEN_SHARE, READ_AT, READ_SHARE, chosen

FOLDER = ROOT / "runs" / "stories"
DRAWS, PROPOSED = 4000, 300
"""Texts that a reading is made of, and candidates of the worked example, most of them the decoder's."""
PAIRS = 4000
"""Pairs of unrelated texts by which an ε is found."""
GROUP = 40
"""Inputs of each group whose activations are put in the place of a reading's."""
SHOWN = 8
"""Members of the worked example of each head."""
SEED = 0


def measure(n: int, queries: int) -> dict[str, Any]:
    """All that the page says; nothing where there is no such study, so that what was measured is left as it is."""
    if not (FOLDER / TRAINING).is_dir():
        print(f"there is no trained study in {FOLDER}: what was measured of it is left as it is", file=sys.stderr)
        return {}
    return measured(load_study(FOLDER), n, queries)


def measured(study: Study, n: int, queries: int) -> dict[str, Any]:
    """The same of any study of texts sampled from its model: rates from `n // 40` inputs a site."""
    features = add_features(texts_of(study))
    data: dict[str, Any] = {"study": study.name, "training": training(study), "features": features}
    data["decoder"] = study.evaluate(max(2, n // 40), cells=0).to_dict()
    _tell(study, "rates")
    coarse = (queries * 10, n * 2)
    data["map"] = head_map(study, features, heads_of(study), CHOSEN_AT, CHOSEN_SHARE, coarse)
    _tell(study, "map")
    heads = chosen(data["map"])
    sites = [head["site"] for head in heads.values()]
    data["fine map"] = head_map(study, features, sites, READ_AT, READ_SHARE, (queries * 20, n * 5), split="held-out")
    _tell(study, "fine map")
    with patch.object(study.task, "sample", of_texts(texts_of(study))):
        data["readings"] = readings(study, features, heads, data["fine map"], queries * 2)
    return data


def texts_of(study: Study) -> TextTask:
    """The task of a study of texts."""
    assert isinstance(study.task, TextTask)
    return study.task


def training(study: Study) -> dict[str, Any]:
    """What the run was told, and what it came to."""
    assert study.folder is not None
    run, task = study.folder / TRAINING, texts_of(study)
    last = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    config = saved_config(run)
    return {
        "minutes": config.minutes, "batch": config.batch_size, "steps": last["step"], "seconds": last["seconds"],
        "rule": str(study.criterion.epsilon), "texts": len(task.windows), "most": task.max_length - 2,
    }  # fmt: skip


def head_map(
    study: Study, features: Sequence[str], heads: Sequence[str], at: str, share: float, counts: tuple[int, int],
    *, split: Split = "all",
) -> dict[str, Any]:  # fmt: skip
    """Bits of heads about every feature at a position: means over random inputs, from draws of the prior.

    `counts`: how many inputs, and how many draws.
    """
    limits = calibrated(study, heads, at, share)
    queries, draws = counts
    cells = sampled_map(
        study.probed, study.task, list(limits), {at: drawn(study, queries, at, split=split)},
        epsilon={(site, at): epsilon for site, epsilon in limits.items()}, draws=draws,
        generator=torch.Generator().manual_seed(SEED + 1),
    )  # fmt: skip
    documents = [_cell(cell, features) | {"epsilon": limits[cell.site]} for cell in cells]
    return {"at": at, "share": share, "queries": queries, "draws": draws, "cells": documents}


def readings(
    study: Study, features: Sequence[str], heads: Mapping[str, Any], fine: Document, queries: int
) -> dict[str, Any]:
    """What of the chosen heads is used at `READ_AT`, over inputs that can be typed; one of them is shown."""
    documents = {}
    cells = {cell["site"]: cell for cell in fine["cells"]}
    for rule, head in heads.items():
        if head["site"] in cells:
            documents[rule] = reading(study, features, head, cells[head["site"]], queries)
            _tell(study, f"{head['site']}, chosen as {rule}")
    return documents


def reading(study: Study, features: Sequence[str], head: Mapping[str, str], cell: Document, n: int) -> dict[str, Any]:
    """The same of one head, over `n` inputs."""
    task, site, epsilon = texts_of(study), head["site"], cell["epsilon"]
    tokens = drawn(study, 4 * n + 8, READ_AT, split="held-out")
    tokens = tokens[task.vocabulary.is_canonical(tokens)][:n]  # of a model's own texts not all can be typed
    queries = [study.query(task.decode(row), READ_AT, site) for row in tokens]
    sources = [PriorSource(task, DRAWS)]
    criterion = Criterion.parse(epsilon)
    preimages = sampled_preimages(study.probed, task, queries, sources, criterion=criterion, seed=SEED)
    shown = _shown(study, tokens, head["feature"])
    proposed = study.preimage(queries[shown], PROPOSED, epsilon=epsilon, colors=False, seed=SEED)
    return {
        **head, "at": READ_AT, "epsilon": epsilon, "drawn": DRAWS,
        "causal": [used(study, preimage, features) for preimage in preimages],
        "bits": cell["bits"], "apart": cell.get("apart"), "attention": attention(study, tokens, site),
        "example": example(proposed) | {"of": shown},
    }  # fmt: skip


def used(study: Study, preimage: Preimage, features: Sequence[str]) -> dict[str, Any]:
    """Which features the next token at the position itself depends on."""
    at = preimage.query.position
    return use(
        study.probed, study.task, preimage, features=features, outputs=[at], n_members=GROUP, n_others=GROUP
    ).to_dict()


def calibrated(study: Study, sites: Sequence[str], at: str, share: float) -> dict[str, float]:
    """The ε of each site at a position by the null quantile; sites where none has this share are left out."""
    if not sites:
        return {}
    generator = torch.Generator().manual_seed(SEED)
    epsilons = null_epsilon(study.probed, study.task, sites, share, n=PAIRS, role=at, skip=True, generator=generator)
    return {site: one.epsilon for site, one in epsilons.items()}


def drawn(study: Study, n: int, at: str, *, split: Split = "all") -> Tokens:
    """Random inputs that have a position, the same each time."""
    generator, kept = torch.Generator().manual_seed(SEED), torch.empty(0, study.task.max_length, dtype=torch.long)
    while len(kept) < n:
        rows = study.task.sample(4 * n, generator=generator, split=split)
        kept = torch.cat([kept, rows[eligible_role(study.task, rows, at) >= 0]])
    return kept[:n]


def of_texts(task: TextTask) -> Callable[..., Tokens]:
    """Draws of the texts of the study, themselves draws of the same prior: new ones take a millisecond each."""
    windows, ordinary = task.windows, task.sample

    def sample(n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        if split != "all":
            return ordinary(n, generator=generator, split=split)
        return windows[torch.randint(len(windows), (n,), generator=generator)]

    return sample


def attention(study: Study, tokens: Tokens, site: str) -> dict[str, float]:
    """How much a head attends from `READ_AT` to places, in the mean over inputs."""
    layer, head = (int(part) for part in site[1:].split("."))
    at = int(READ_AT)
    pattern = study.probed.attention(tokens, layer)[:, head, at].float().cpu().mean(dim=0)
    places = {"begin": 0, "first token": 1, "token-2": at - 2, "token-1": at - 1, "token": at}
    shares = {name: float(pattern[place]) for name, place in places.items()}
    return shares | {"the others": 1 - sum(shares.values())}


def example(preimage: Preimage) -> dict[str, Any]:
    """What was proposed for one query, and some of its members from the nearest to the furthest."""
    other = np.flatnonzero(preimage.inside & ~is_row(preimage.tokens, preimage.query.tokens))
    rows = [other[i] for i in np.linspace(0, len(other) - 1, min(SHOWN, len(other))).round().astype(int)]
    position = preimage.query.position
    return {
        "input": _marked(preimage.query.token_strings, position),
        "drawn": sum(sum(source.values()) for source in preimage.sources),
        "inside": int(preimage.inside.sum()),
        "members": [
            {"input": _marked(preimage.token_strings[i], position), "distance": float(preimage.distances[i])}
            for i in rows
        ],
    }  # fmt: skip


def _marked(strings: Sequence[str], position: int) -> list[str]:
    """The text up to the position, its token, and what comes after, which the activation cannot know."""
    return ["".join(strings[1:position]), strings[position], "".join(strings[position + 1 : -1])]


def _shown(study: Study, tokens: Tokens, feature: str) -> int:
    """The first input that has the word, where the head was chosen for a word; else the first."""
    chosen_for = study.task.features[feature]
    if chosen_for.values != ("no", "yes"):
        return 0
    return int(chosen_for.compute(tokens, eligible_role(study.task, tokens, READ_AT)).argmax())


def _cell(cell: MapCell, features: Sequence[str]) -> dict[str, Any]:
    """Means over queries; no bits where too many of these had too few members among the draws.

    `apart`: what is given about the previous token less what is given about the current one, query by query.
    """
    assert cell.effective is not None
    n, few = len(cell.effective), int((cell.effective < LEAST_MEMBERS).sum())
    document: dict[str, Any] = {"site": cell.site, "at": cell.role, "few": few, "bits": {}}
    if few > MOST_SHORT * n:
        return document
    by_name = dict(zip(cell.features, cell.bits.T, strict=True))
    of = dict(zip(cell.features, cell.of.tolist(), strict=True))
    document["bits"] = {name: _mean(by_name[name]) | {"of": of[name]} for name in features}
    return document | {"apart": _mean(by_name["token-1"] - by_name["token"])}


def _mean(values: Float[np.ndarray, " query"]) -> dict[str, float]:
    return {"bits": float(values.mean()), "se": float(values.std(ddof=1) / np.sqrt(len(values)))}


def _tell(study: Study, what: str) -> None:
    print(f"{study.name}: measured {what}", file=sys.stderr, flush=True)
