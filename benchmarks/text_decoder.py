"""Decoders for free text: of SmolLM2-135M after 45 minutes, and of stories260k after 25, on two threads, from nothing.

Both learn texts that the model itself wrote, windows of 20 tokens. Of SmolLM2 four heads and four residual streams are
read, chosen by a rule before anything is trained (`chosen_sites.py`), at ε = `null:0.01`; of stories260k what the
recipe reads, by the command of its page, at `null:0.05`. Told are in-ε rates under rule `same` beside their floors, and
those of each position: the further on, the more text an activation may hold.

`python -m benchmarks.text_decoder --train` only trains; see `real_decoder`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.chosen_sites import chosen
from benchmarks.common import BEGIN, ROOT, Row, smollm2
from benchmarks.long_training import QUICK, LongRun, Measured, least_row, main, mean_row, measure, pace, train, trained
from inversionview.studies.description import PROBED, bundled_studies
from inversionview.studies.study import Study, load_study

SMOLLM2, STORIES = "SmolLM2 on free text", "stories260k"
EPSILON, TARGET_TIMES, TARGET_STORIES = "null:0.01", 10.0, 0.45
QUERIES, STORIES_QUERIES = 1000, 300
"""Held-out inputs a site: so many of the first that its floor, some ten of them, is known."""


def run(*, quick: bool = False) -> list[Row]:
    """Rates of both; a model that is not here is left out, which is said."""
    n, of_stories = (10, 10) if quick else (QUERIES, STORIES_QUERIES)
    with tempfile.TemporaryDirectory() as temporary:
        smollm2_run, stories_run = quick_runs(Path(temporary)) if quick else (smollm2_text(), stories())
        with trained(smollm2_run, quick=quick) as study:
            rows = smollm2_rows(study, measure(study, n))
        if stories_run is None:
            print(f"{STORIES} is not at hand, and left out", file=sys.stderr)
            return rows
        with trained(stories_run, quick=quick) as study:
            rates = measure(study, of_stories)
            came_to = pace(study)
            return [
                *rows,
                mean_row(f"{STORIES}, {study.criterion.epsilon}", rates, "same", TARGET_STORIES),
                least_row(f"{STORIES}, {study.criterion.epsilon}", rates, "same", None),
                {"name": f"{STORIES}, training", "value": came_to.activations, "unit": "activations/s",
                 "detail": came_to.told()},
            ]  # fmt: skip


def smollm2_rows(study: Study, rates: Measured) -> list[Row]:
    """How many times the floor, site by site and by position."""
    came_to, samples, floors = pace(study), rates.rates("same"), rates.floors("same")
    times = ", ".join(
        f"{site} {rate:.3f}/{floor:.3f}" for site, rate, floor in zip(rates.sites, samples, floors, strict=True)
    )
    return [
        {"name": f"{SMOLLM2}, in-ε rate (rule same) over its floor", "value": float(samples.mean() / floors.mean()),
         "unit": "times", "target": TARGET_TIMES, "sense": "at least",
         "detail": f"ε {EPSILON}; mean rate {samples.mean():.4f}, mean floor {floors.mean():.4f}; {times}"},
        {"name": f"{SMOLLM2}, in-ε rate (rule same)", "value": float(samples.mean()), "unit": "of samples",
         "detail": f"by position, with its floor: {rates.by_position('same')}"},
        {"name": f"{SMOLLM2}, training", "value": came_to.activations, "unit": "activations/s",
         "detail": came_to.told()},
    ]  # fmt: skip


def smollm2_text() -> LongRun:
    """Texts that SmolLM2 wrote, at the chosen sites."""
    of_model = ["--model", str(smollm2()), "--begin", BEGIN, "--sites", ",".join(chosen("text"))]
    return LongRun("smollm2-text", ["text", *of_model, "--epsilon", EPSILON], ["--minutes", "45"])


def stories() -> LongRun | None:
    """The recipe of the page on stories; None where the model is not here."""
    model = ROOT.parent / "shared" / "models" / "stories260k"
    return LongRun("stories", ["text", "--model", str(model)], ["--minutes", "25"]) if model.is_dir() else None


def quick_runs(folder: Path) -> tuple[LongRun, LongRun]:
    """Sentences of the small task of IOI, as texts, in the model that comes with the package."""
    study = load_study("ioi-small")
    drawn = study.task.sample(300, generator=torch.Generator().manual_seed(0))
    texts = folder / "texts.txt"
    texts.write_text("\n".join(study.task.decode(row) for row in drawn), encoding="utf-8")
    of_model = ["text", "--model", str(bundled_studies()["ioi-small"] / PROBED), "--texts", str(texts)]
    arguments = [*of_model, "--length", "8", "--sites", "a0.0,x1.post", "--epsilon", "null:0.1"]
    return LongRun("text", arguments, QUICK), LongRun("stories", arguments, QUICK)


def only_train() -> None:
    """Both, one after the other."""
    for long_run in (smollm2_text(), stories()):
        if long_run is not None:
            train(long_run, long_run.folder)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(only_train, "text_decoder")
