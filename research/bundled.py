"""Makes a bundled study: `python -m research.bundled addition`; without a name, all of them.

Its probed model is, of addition and counting, that of the seed that `research/seeds_page.py` chooses of what
`python -m research.seeds` measured, its heads in the order found there; of a small language, what `train-probed` makes.
Its decoder is trained by the recipe. Runs lie in `runs/bundled`, where one that was ended goes on. The study then takes
the place of the one in the package, the decoder's weights as 16-bit numbers; `make studies` measures all that pages and
pictures say of it, its map among that.
"""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from inversionview.decoder.loading import save_decoder
from inversionview.files import atomic_folder
from inversionview.probed.model import ProbedModel
from inversionview.studies.description import DECODER, FILE, TRAINING, bundled_studies
from inversionview.studies.recipes import Budget
from inversionview.studies.study import Study, load_study
from inversionview.studies.training_runs import train_decoder
from inversionview.training import ProgressBar
from research import seeds
from research.documents import load
from research.heads import reorder
from research.paths import ROOT
from research.seeds_page import ENOUGH, chosen
from research.seeds_page import name as document_of

RUNS = ROOT / "runs" / "bundled"
KEPT = ROOT / "research" / "models"
"""Models of seeds that are bundled or to be, whose training takes more than an hour."""
BUDGETS = {
    "addition": Budget(minutes=60),
    "counting": Budget(minutes=90),
    "ioi-small": Budget(minutes=60),
    "facts-small": Budget(minutes=60),
}
"""Of training each decoder, on two cores."""
OF_RUN = shutil.ignore_patterns(TRAINING, "pool", DECODER, ".*")
"""What the folder of a run has beside the study."""


def main(args: Sequence[str] | None = None) -> int:
    """Make the studies that are named, or all."""
    for name in (sys.argv[1:] if args is None else args) or BUDGETS:
        folder = RUNS / name
        trained(name, folder)
        ship(folder, bundled_studies()[name])
        print(f"{name} is made: what is measured of it is measured again by `make studies`", flush=True)
    return 0


def trained(name: str, folder: Path) -> None:
    """Train the decoder into a folder, from the model, unless that was done."""
    if (folder / DECODER).is_dir():
        return
    source, resume = RUNS / "models" / name, (folder / FILE).is_file()
    if not resume and not (source / FILE).is_file():
        keep_model(name, source)
    logger = ProgressBar(about=f"decoder of {name}", minutes=BUDGETS[name].minutes)
    result = train_decoder(source, folder, budget=BUDGETS[name], resume=resume, logger=logger)
    if result.interrupted:
        raise SystemExit(130)


def keep_model(name: str, folder: Path) -> None:
    """A study without a decoder, with the model that is to be bundled."""
    if name not in ENOUGH:
        shutil.copytree(seeds.trained(name, 0), folder, ignore=OF_RUN)
        return
    run = chosen(name, load(document_of(name))[name])
    if run is None:
        raise SystemExit(f"no seed of {name} is right often enough to be bundled")
    kept = KEPT / f"{name}-{run['seed']}"
    study = load_study(kept if kept.is_dir() else seeds.trained(name, run["seed"]))
    in_order(study, run["order"]).save(folder)


def in_order(study: Study, order: Sequence[int]) -> Study:
    """The same study with the heads of the first layer in this order; in their own where it is empty."""
    model = copy.deepcopy(study.probed.model)
    if order:
        reorder(model, 0, order)
    probed = ProbedModel(model, study.task.tokenizer, convention=study.probed.convention)
    criterion, sites = study.criterion, study.sites
    return Study(probed, study.task, epsilon=criterion.epsilon, metric=criterion.metric, name=study.name, sites=sites)


def ship(run: Path, place: Path) -> None:
    """Put a study that was trained in the place of a bundled one."""
    decoder = load_study(run).decoder
    assert decoder is not None
    with atomic_folder(place) as part:
        shutil.copytree(run, part, ignore=OF_RUN, dirs_exist_ok=True)
        save_decoder(decoder, part / DECODER, half=True)


if __name__ == "__main__":
    raise SystemExit(main())
