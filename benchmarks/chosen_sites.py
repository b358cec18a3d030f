"""Which sites the decoders of real models are trained for: chosen by rules, before anything is trained, and kept.

`python -m benchmarks.chosen_sites` measures what the rules need, a few minutes, and writes the lists beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import BEGIN, ROOT, smollm2
from inversionview.causal.head_selection import HeadSelection
from inversionview.files import write_atomic

KEPT = Path(__file__).with_name("chosen_sites.json")
PATCHED = ROOT / "research" / "results" / "study-real-models.json"
"""What patching each head alone does, as the page on real models tells it."""
HEADS, SHOWN = 26, 40
"""Heads that are chosen for IOI, and of each ranking the heads that are kept."""
EIGHTHS = (1, 3, 5, 7)
"""Of free text, the layers at these eighths of the depth."""
TEXT_LENGTH, TEXT_AT, TEXTS = 20, "10", 200
IOI_RULE = (
    "in turns, until there are 26: the head whose patch at END moves the answer most (contrast flip, drop of the logit "
    "difference, whichever sign), and the head that counts most often at END by head selection"
)
TEXT_RULE = (
    "the layers at 1, 3, 5 and 7 eighths of the depth; of each the residual stream behind it, and the head that counts "
    "most often by head selection at token 10 of texts of the model's own; ties by proximity"
)


def chosen(what: str) -> tuple[str, ...]:
    """The sites for `ioi` or `text` in SmolLM2-135M."""
    sites: list[str] = json.loads(KEPT.read_text(encoding="utf-8"))[what]["sites"]
    return tuple(sites)


def in_turns(rankings: Sequence[Sequence[str]], n: int) -> list[str]:
    """From each ranking in turn its first name that is not chosen yet, until there are `n` or no more."""
    names: list[str] = []
    left = [iter(ranking) for ranking in rankings]
    while len(names) < n and left:
        for ranking in [*left]:
            name = next((name for name in ranking if name not in names), None)
            if name is None:
                left.remove(ranking)
            elif len(names) < n:
                names.append(name)
    return names


def by_patching(effects: dict[str, Sequence[float]]) -> list[str]:
    """Heads by how much patching each alone moves the answer, either way; ties in the order they came."""
    return sorted(effects, key=lambda head: -abs(effects[head][0]))


def by_selection(selection: HeadSelection) -> list[str]:
    """Heads by how often each counts; ties by proximity."""
    return [head.site for head in sorted(selection.heads, key=lambda head: (-head.counts, -head.proximity))]


def depth_sites(selection: HeadSelection, n_layers: int) -> list[str]:
    """At each of `EIGHTHS` of the depth, the head that counts most often there; then the residual streams there."""
    layers = [n_layers * eighth // 8 for eighth in EIGHTHS]
    ranked = by_selection(selection)
    heads = [next(head for head in ranked if head.startswith(f"a{layer}.")) for layer in layers]
    return heads + [f"x{layer}.post" for layer in layers]


def main(names: Sequence[str] = ()) -> None:
    """Measure what is named, `ioi` or `text`, by default both, and write the lists."""
    for name, measure in (("ioi", measured_ioi), ("text", measured_text)):
        if not names or name in names:
            lists = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
            lists[name] = measure()
            write_atomic(KEPT, json.dumps(lists, indent=1) + "\n")
            print(f"{name}: {','.join(lists[name]['sites'])}; written to {KEPT.name}", flush=True)


def measured_ioi() -> dict[str, Any]:
    """The heads for IOI, with both rankings they come from."""
    from inversionview.studies.study import open_study

    effects = json.loads(PATCHED.read_text(encoding="utf-8"))["models"]["SmolLM2-135M"]["ioi"]["patching"]["flip@END"]
    selection = open_study("ioi", model=smollm2(), begin=BEGIN).head_selection("END")
    rankings = by_patching(effects["each"]), by_selection(selection)
    counts = {head.site: [head.counts, head.proximity] for head in selection.heads}
    return {
        "rule": IOI_RULE,
        "sites": in_turns(rankings, HEADS),
        "by_patching": {head: effects["each"][head] for head in rankings[0][:SHOWN]},
        "by_selection": {head: counts[head] for head in rankings[1][:SHOWN]},
    }


def measured_text() -> dict[str, Any]:
    """The sites for free text, with what the heads of their layers count."""
    from inversionview.probed.model import ProbedModel
    from inversionview.studies.settings import HeadSettings
    from inversionview.studies.verbs.attribution import choose_heads
    from inversionview.tasks.text.task import TextTask

    probed = ProbedModel.from_pretrained(smollm2(), begin=BEGIN)
    task = TextTask.sampled(probed, TEXT_LENGTH, n=TEXTS, seed=0)
    selection = choose_heads(probed, task, HeadSettings(at=TEXT_AT, n=TEXTS))
    sites = depth_sites(selection, probed.n_layers)
    layers = {site.partition(".")[0] for site in sites if site.startswith("a")}
    counts = {h.site: [h.counts, h.proximity] for h in selection.heads if h.site.partition(".")[0] in layers}
    return {"rule": TEXT_RULE, "sites": sites, "by_selection": counts}


if __name__ == "__main__":
    main(sys.argv[1:])
