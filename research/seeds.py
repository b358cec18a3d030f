"""Trains a probed model with several seeds and tests the paper's claims on each: `python -m research.seeds addition`.

`python -m research.seeds addition-muon --seeds 4-7` takes another recipe of the task and other seeds. Runs lie in
`runs/seeds`, where one that was ended goes on; with `--train` nothing is measured yet, so that several can run side by
side. What was measured is added to `research/results/seeds-TASK.json`, of which the task's page has a section.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inversionview.studies.description import FILE, TRAINING
from inversionview.studies.study import Study, load_study
from inversionview.studies.training_runs import train_probed
from inversionview.studies.verbs.evaluate import held_out_accuracy
from inversionview.training import ProgressBar
from research import addition_page, counting_page, studies
from research.claims import Measured, Verdict, judged
from research.documents import keep, load, rounded
from research.heads import best_order, renamed
from research.paths import RESULTS, ROOT
from research.seeds_page import name

RUNS = ROOT / "runs" / "seeds"
SEEDS = "0-3"
HEADS = 4
"""Of a layer of the model of addition."""


def main(args: Sequence[str] | None = None) -> int:
    """Train, and measure, a recipe with each of the seeds."""
    args = list(sys.argv[1:] if args is None else args)
    recipe = next(iter(args), "addition")
    first, _, last = (args[args.index("--seeds") + 1] if "--seeds" in args else SEEDS).partition("-")
    for seed in range(int(first), int(last or first) + 1):
        folder = trained(recipe, seed)
        if "--train" not in args:
            add(recipe, measured(recipe, seed, folder))
    return 0


def trained(recipe: str, seed: int) -> Path:
    """The folder of the study with the model of this seed, which is trained, or goes on being, unless it is there."""
    folder = RUNS / f"{recipe}-{seed}"
    if not (folder / FILE).is_file():
        logger = ProgressBar(about=f"{recipe}, seed {seed}")
        result, _ = train_probed(recipe, folder, seed=seed, resume=(folder / TRAINING).is_dir(), logger=logger)
        if result.interrupted:
            raise SystemExit(130)
    return folder


def measured(recipe: str, seed: int, folder: Path) -> dict[str, Any]:
    """What the page says of one run: how long it was, how often it is right, and of each claim why it disagrees."""
    study = load_study(folder)
    last = json.loads((folder / TRAINING / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    judge = JUDGES[recipe.removesuffix("-muon")]
    order, verdicts = judge(study)
    claims = {
        verdict.claim.says: [check.words for check in (*verdict.encoded, *verdict.used) if not check.holds]
        for verdict in verdicts
    }
    accuracy = held_out_accuracy(study.probed, study.task)
    run = {"seed": seed, "steps": last["step"], "seconds": last["seconds"], "accuracy": accuracy}
    return {**run, "order": order, "claims": claims}


def add(recipe: str, run: dict[str, Any]) -> None:
    """Put a run among those of its task, in the place of an earlier one of the same recipe and seed."""
    document = name(recipe.removesuffix("-muon"))
    runs = load(document) if (RESULTS / f"{document}.json").is_file() else {}
    others = [other for other in runs.get(recipe, []) if other["seed"] != run["seed"]]
    of_recipe = sorted([*others, rounded(run, ".6g")], key=lambda other: other["seed"])
    keep(document, {**runs, recipe: of_recipe})
    agree = sum(not failed for failed in run["claims"].values())
    right = f"{run['accuracy']:.2%} of held-out inputs right"
    print(f"{recipe}, seed {run['seed']}: {right}, {agree} of {len(run['claims'])} claims agree", flush=True)


def judged_on_sums(study: Study) -> tuple[Sequence[int], list[Verdict]]:
    """The claims on addition, with the first layer's heads in the order in which most of them hold."""
    heads, claims = [f"a0.{head}" for head in range(HEADS)], addition_page.CLAIMS
    maps = {
        "map": study.map(sites=heads, at="=").to_dict(),
        addition_page.THREE: study.map(sites=heads, at="A1", where="not C1").to_dict(),
    }
    of_model: Measured = addition_page.measured(maps, studies.effects_on_sums(study, studies.N))
    order = best_order(of_model, claims, 0, HEADS)
    return order, judged("", renamed(of_model, 0, order), claims)


def judged_on_counts(study: Study) -> tuple[Sequence[int], list[Verdict]]:
    """The claims on counting, of whose layers each has one head."""
    of_model = counting_page.measured(studies.of_counts(study, studies.N, studies.QUERIES))
    return (), judged("", of_model, counting_page.CLAIMS)


JUDGES: dict[str, Callable[[Study], tuple[Sequence[int], list[Verdict]]]] = {
    "addition": judged_on_sums,
    "counting": judged_on_counts,
}


if __name__ == "__main__":
    raise SystemExit(main())
