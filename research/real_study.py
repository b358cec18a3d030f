"""Measures what the page on real models says: IOI in two models, and other domains in one, with nothing trained."""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.causal.contrast import Pairs, make_pairs
from inversionview.causal.effects import Configuration, PatchEffects, PatchSite
from inversionview.causal.logit_attribution import attribute_heads, stream_parts
from inversionview.causal.patching import patch_effects
from inversionview.probed.readout import Readout
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.studies.study import Study, open_study
from inversionview.tasks.base import Feature
from inversionview.tasks.positions import last_eligible
from research import real_page
from research.documents import Document
from research.paths import MODELS, ROOT
from research.site_study import _ranked

NAMES = {"SmolLM2-135M": "smollm2-135m", "Gemma-3-270M": "gemma-3-270m"}
"""By their names, the folders of `make real-models`."""
BEGIN = {"SmolLM2-135M": "<|endoftext|>"}
"""The token before each text, where it is not the tokenizer's own: that of this one begins a turn of a chat."""
OTHERS = {
    "greater-than": ("change:YY,later", ("noun", "YY", "decade"), "null:0.01"),
    "facts": ("change:relation", ("relation", "subject", "object"), "null:0.02"),
}
"""Domains of which the first model is asked: a contrast, the features, and ε. Members are so few that each feature can
be known, and so many that they are not mostly the query's own beginning drawn again."""
EPSILON = "null:0.005"
SEED = 0
BANK, MAPPED, PAIRS = 6000, 200, 100
SLICE, SLICED = "all-but:S,order,place", ("S", "order", "place")
"""The inputs that share all but these with one sentence, and the features that are left."""
SLICE_HEADS, SLICE_BANK, SLICE_EPSILON = 22, 1500, "null:0.02"
"""Heads, evenly among all, inputs of the bank, and ε: some 30 members a query, as many as in the maps."""
_BLOCK = 32
"""Inputs whose stream is taken apart at once."""


def measure(n: int, queries: int) -> dict[str, Any]:
    """All that the page says, where both models are at hand; with a small `n` of few inputs, to try it out."""
    share = min(1.0, n / 20_000)
    sizes = {
        "n": max(1000, int(BANK * share)),
        "mapped": max(20, int(MAPPED * share)),
        "pairs": max(6, int(PAIRS * share)),
    }
    folders = {name: MODELS / folder for name, folder in NAMES.items()}
    if missing := [str(path.relative_to(ROOT)) for path in folders.values() if not path.is_dir()]:
        print(f"{' and '.join(missing)} are not at hand: run `make real-models`", file=sys.stderr)
        return {}
    models: dict[str, Any] = {}
    sliced: list[dict[str, Any]] = []
    for name, folder in folders.items():
        study = open_study("ioi", model=folder, begin=BEGIN.get(name))
        models[name] = {"ioi": ioi(study, **sizes)}
        if name == next(iter(NAMES)):
            sliced = [slices(study, share)]
            for domain, (contrast, features, epsilon) in OTHERS.items():
                other = open_study(domain, model=study.probed)
                models[name][domain] = where_first(other, contrast, features, epsilon, **sizes)
    return {"models": models, "slices": sliced}


def ioi(study: Study, n: int, mapped: int, pairs: int) -> dict[str, Any]:
    """Bits, patching and attribution of all heads of a model."""
    heads = [str(site) for site in study.probed.select_sites(["heads"])]
    data: dict[str, Any] = {
        "heads": heads,
        "layers": study.probed.n_layers,
        "n": n,
        "epsilon": EPSILON,
        "queries": mapped,
    }
    _tell(study, "opened")
    data["accuracy"] = accuracy(study, n // 4)
    data |= maps(study, ["heads"], ("END", "S2"), n, mapped, real_page.FEATURES, permuted=True)
    _tell(study, "mapped")
    data["patching"], drawn = {}, {}
    for name, contrast in real_page.CONTRASTS.items():
        drawn[name] = make_pairs(study.task, pairs, target="answer", contrast=contrast, split="held-out", seed=SEED)
        for at in ("END", "S2") if name == "flip" else ("END",):
            data["patching"][f"{name}@{at}"] = patched_each(study, drawn[name], heads, at)
            _tell(study, f"patched {name} at {at}")
    data["attribution"] = attribution(study, drawn["flip"], heads)
    _tell(study, "attributed")
    data["together"] = [
        group(study, drawn[contrast], name, sites, contrast)
        for contrast in real_page.CONTRASTS
        for name, sites in groups(data).items()
        if sites
    ]
    return data


def where_first(
    study: Study, contrast: str, features: Sequence[str], epsilon: str, *, n: int, mapped: int, pairs: int
) -> dict[str, Any]:
    """Bits of heads and residual streams at END about some features, and what patching each head there does."""
    heads = [str(site) for site in study.probed.select_sites(["heads"])]
    data: dict[str, Any] = {"n": n, "epsilon": epsilon, "features": list(features), "contrast": contrast}
    data["accuracy"] = accuracy(study, n // 4)
    streams = [str(site) for site in study.probed.sites if site.kind == "resid_post"]
    measured = maps(study, [*streams, *heads], ("END",), n, mapped, features, epsilon=epsilon)
    data |= {"map": measured["map"]["END"], "of": measured["of"]["END"]}
    drawn = make_pairs(study.task, pairs, target=answer_of(study), contrast=contrast, split="held-out", seed=SEED)
    data["patching"] = patched_each(study, drawn, heads, "END")
    _tell(study, "measured")
    return data


def maps(
    study: Study, sites: Sequence[str], ats: Sequence[str], n: int, mapped: int, features: Sequence[str], *,
    epsilon: str = EPSILON, permuted: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Bits of some features from one bank of held-out inputs, and of names that are permuted among the inputs."""
    task = study.task
    wanted = {name: task.features[name] for name in features}
    if permuted:
        drawn = task.sample(n, generator=torch.Generator().manual_seed(SEED), split="held-out")  # as the bank's are
        wanted |= {f"{name}, permuted": _permuted(task.features[name], drawn) for name in real_page.NAMES}
    narrow = _with_features(study, wanted)
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "bank"
        narrow.bank(at=ats, sites=sites, n=n, seed=SEED, split="held-out", folder=bank)
        document = narrow.map(bank=bank, at=tuple(ats), queries=mapped, epsilon=epsilon, seed=SEED)
    found: dict[str, Any] = {at: {} for at in ats}
    of: dict[str, Any] = {at: {} for at in ats}
    for cell in document.cells:
        found[cell.at][cell.site] = {name: [bits.bits, bits.se] for name, bits in cell.bits.items()} or None
        of[cell.at] |= {name: bits.of for name, bits in cell.bits.items()}
    data = {"map": found, "of": of}
    return data | ({"permuted": _shares(data, real_page.NAMES)} if permuted else {})


def _with_features(study: Study, features: Mapping[str, Feature]) -> Study:
    task: Any = copy.copy(study.task)
    task.features = dict(features)
    return Study(study.probed, task, epsilon=EPSILON, name=study.name)


def _permuted(feature: Feature, tokens: Tokens) -> Feature:
    """The same feature with its values exchanged among these inputs, so that no activation knows it."""
    at = torch.zeros(len(tokens), dtype=torch.long)
    codes = feature.compute(tokens, at)[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(SEED))]
    by_row = {tuple(row): int(code) for row, code in zip(tokens.tolist(), codes, strict=True)}

    def compute(rows: Tokens, positions: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        return torch.tensor([by_row.get(tuple(row), 0) for row in rows.tolist()], dtype=torch.long)

    return Feature(f"{feature.name}, permuted", feature.values, compute, feature.about)


def _shares(data: Document, names: Sequence[str]) -> dict[str, Any]:
    """Shares of their entropy that the map gives of permuted features at END: the mean, and what 95% are under."""
    shares = {}
    for name in (f"{name}, permuted" for name in names):
        of = data["of"]["END"][name]
        each = torch.tensor([cell[name][0] / of for cell in data["map"]["END"].values() if cell], dtype=torch.float64)
        shares[name.removesuffix(", permuted")] = {
            "heads": len(each), "mean": float(each.mean()), "p95": float(each.quantile(0.95)),
        }  # fmt: skip
    return shares


def slices(study: Study, share: float) -> dict[str, Any]:
    """Bits from a bank of a part of the domain beside those of the whole part, which are counted by other code."""
    task: Any = study.task
    text = task.decode(task.sample(1, generator=torch.Generator().manual_seed(SEED + 1), split="held-out")[0])
    part = task.given(task.encode(text), SLICE)
    _tell(study, f"a slice of {part.size:,} inputs")
    heads = [str(site) for site in study.probed.select_sites(["heads"])]
    step = max(1, len(heads) // SLICE_HEADS)
    chosen = heads[step // 2 :: step][:SLICE_HEADS]
    n, queries = max(200, int(SLICE_BANK * share)), max(20, int(MAPPED * share))
    narrow = Study(study.probed, part, epsilon=SLICE_EPSILON, name=study.name)
    sampled = narrow.map(n=n, queries=queries, sites=chosen, at=("END",), seed=SEED)
    epsilon = {cell.site: cell.epsilon for cell in sampled.cells if cell.epsilon and cell.bits}
    truth = counted(study, part, epsilon)
    cells: list[dict[str, Any]] = [
        {"site": cell.site, "feature": name, "bits": cell.bits[name].bits, "low": interval[0], "high": interval[1],
         "exact": truth[cell.site, name]}
        for cell in sampled.cells
        for name in SLICED
        if cell.site in epsilon and (interval := cell.bits[name].interval)
    ]  # fmt: skip
    widths = torch.tensor([cell["high"] - cell["low"] for cell in cells])
    return {"text": text, "size": part.size, "given": SLICE, "n": n, "epsilon": SLICE_EPSILON,
            "width": float(widths.median()), "cells": cells}  # fmt: skip


@torch.no_grad()
def counted(study: Study, part: Any, epsilon: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """The mean score of every input of a part in turn, with all others as its possible members.

    Nothing of the map's own code is used: activations as they are captured, their distances, and counts.
    """
    tokens = torch.cat(list(part.enumerate()))
    at = part.position_of(tokens, "END")
    captured = [
        study.probed.capture(tokens[rows], list(epsilon), at[rows]) for rows in torch.arange(len(tokens)).split(64)
    ]
    codes = {name: part.features[name].compute(tokens, at) for name in SLICED}
    scores = {}
    for site, largest in epsilon.items():
        z = torch.cat([block[study.probed.site(site)] for block in captured]).double()
        totals = torch.zeros(len(tokens))
        same = {name: torch.zeros(len(tokens)) for name in SLICED}
        for rows in torch.arange(len(tokens)).split(512):
            inside = torch.cdist(z[rows], z) <= largest * z[rows].norm(dim=1, keepdim=True)
            inside[torch.arange(len(rows)), rows] = False
            totals[rows] = inside.sum(dim=1).float()
            for name, code in codes.items():
                same[name][rows] = (inside & (code == code[rows, None])).sum(dim=1).float()
        for name, code in codes.items():
            others = (torch.bincount(code)[code] - 1) / (len(tokens) - 1)
            scores[site, name] = _best_score(same[name].double(), totals.double(), others.double())
    return scores


def _best_score(
    same: Float[Tensor, " input"], members: Float[Tensor, " input"], prior: Float[Tensor, " input"]
) -> float:
    """The mean of log2((same + a prior) / ((members + a) prior)), with the a that suits the other half of them."""
    weights = torch.tensor([2.0**power for power in range(-6, 18)], dtype=torch.float64)[:, None]
    scores = torch.log2((same + weights * prior) / ((members + weights) * prior))
    scores = torch.cat([scores, torch.zeros(1, len(same), dtype=torch.float64)])  # the prior alone
    even = torch.arange(len(same)) % 2 == 0
    chosen = [
        scores[int(scores[:, tune].mean(dim=1).argmax()), test].sum() for tune, test in ((even, ~even), (~even, even))
    ]
    return float(sum(chosen)) / len(same)


def answer_of(study: Study) -> str:
    """The position that is predicted."""
    return next(role for role in ("answer", "object") if role in study.task.roles)


def accuracy(study: Study, n: int) -> dict[str, Any]:
    """How often the answer's first token is above every other one, and for IOI above S."""
    task, probed = study.task, study.probed
    tokens = task.sample(n, generator=torch.Generator().manual_seed(SEED), split="held-out")
    at = task.position_of(tokens, answer_of(study))
    answer = tokens.gather(1, at[:, None])[:, 0]
    right, above = 0, 0
    s_names = tokens.gather(1, task.position_of(tokens, "S2")[:, None])[:, 0] if "S2" in task.roles else None
    for rows in torch.arange(n).split(64):
        width = int(at[rows].max())
        logits = probed.logits(tokens[rows, :width], positions=at[rows] - 1).float().cpu()
        own = logits.gather(1, answer[rows, None])[:, 0]
        right += int((logits.argmax(dim=1) == answer[rows]).sum())
        if s_names is not None:
            above += int((own > logits.gather(1, s_names[rows, None])[:, 0]).sum())
    return {"n": n, "right": right} | ({} if s_names is None else {"above": above})


def patched_each(study: Study, pairs: Pairs, heads: Sequence[str], at: str) -> dict[str, Any]:
    """What patching each head alone does."""
    alone = [Configuration((PatchSite(Site.parse(head), at),), "each") for head in heads]
    effects = patch_effects(study.probed, pairs, alone)
    drops = {head: [effect.drop.mean, effect.drop.se] for head, effect in zip(heads, effects.effects, strict=True)}
    return _runs(effects) | {"each": drops}


def _runs(effects: PatchEffects) -> dict[str, Any]:
    said = effects.summary
    return {"n": said.n, "clean": said.clean, "clean_se": said.clean_se, "contrast_run": said.contrast_run}


def groups(data: Document) -> dict[str, list[str]]:
    """The heads that play each part at END, and all heads."""
    of_parts: dict[str, list[str]] = {name: heads for name, heads in real_page.known(data).items() if "S2" not in name}
    return of_parts | {"all heads": list(data["heads"])}


def group(study: Study, pairs: Pairs, name: str, heads: Sequence[str], contrast: str) -> dict[str, Any]:
    """What patching some heads at END together does."""
    sites = tuple(PatchSite(Site.parse(head), "END") for head in heads)
    (effect,) = patch_effects(study.probed, pairs, [Configuration(sites, "together")]).effects
    return {"name": name, "heads": list(heads), "contrast": contrast, "drop": effect.drop.mean, "se": effect.drop.se}


def attribution(study: Study, pairs: Pairs, heads: Sequence[str]) -> dict[str, Any]:
    """What every head adds at END to the difference of the answers' logits, and how the names rank in what it adds."""
    parts = {part.part: part for part in attribute_heads(study.probed, pairs).parts}
    ranked = {name: ranks(study, pairs, name, heads) for name in real_page.NAMES}
    return {
        head: {"difference": [parts[head].mean, parts[head].se]} | {name: of[head] for name, of in ranked.items()}
        for head in heads
    }


def ranks(study: Study, pairs: Pairs, feature: str, heads: Sequence[str]) -> dict[str, dict[str, float]]:
    """How an input's own name ranks among all names in what each head adds to their logits."""
    task: Any = study.task
    words = torch.tensor([task.vocabulary.ids(f" {name}")[-1] for name in task.features[feature].values])
    codes = task.features[feature].compute(pairs.clean, last_eligible(task, pairs.clean))
    readout, scores = Readout(study.probed), []
    for rows in torch.arange(len(pairs)).split(_BLOCK):
        names, values, stream = stream_parts(study.probed, pairs.clean[rows], pairs.clean_target[rows] - 1)
        chosen = values[[names.index(head) for head in heads]]
        scores.append(_of_words(readout, chosen, stream, words))
    of_head: Float[Tensor, "head batch word"] = torch.cat(scores, dim=1)
    return {head: _ranked(of, codes) for head, of in zip(heads, of_head, strict=True)}


def _of_words(readout: Readout, values: Tensor, stream: Tensor, words: Tensor) -> Tensor:
    return torch.stack([readout.contributions(value, stream)[:, words].float().cpu() for value in values])


def _tell(study: Study, what: str) -> None:
    print(f"{study.name}: {what}", file=sys.stderr, flush=True)
