"""A decoder for the paper's model of addition after 15 minutes on two threads, from nothing, at all sites.

`python -m benchmarks.addition_decoder --train` only trains, into `runs/addition`; see `real_decoder`.
"""

from __future__ import annotations

import torch

from benchmarks.common import Row, addition_model
from benchmarks.long_training import QUICK, LongRun, least_row, main, mean_row, measure, pace, train, trained

TARGET_MEAN, TARGET_LEAST = 0.90, 0.75
QUERIES = 1000
"""Held-out inputs a site."""


def run(*, quick: bool = False) -> list[Row]:
    """The mean rate and that of the worst site, under the paper's rule."""
    with trained(long_run(quick=quick), quick=quick) as study:
        rates, came_to = measure(study, 10 if quick else QUERIES), pace(study)
    name = f"addition in 15 minutes ({addition_model()[1]})"
    return [
        mean_row(name, rates, "any", TARGET_MEAN),
        least_row(name, rates, "any", TARGET_LEAST),
        {"name": f"{name}, training", "value": came_to.activations, "unit": "activations/s", "detail": came_to.told()},
    ]  # fmt: skip


def long_run(*, quick: bool = False) -> LongRun:
    """What is trained."""
    arguments = ["addition", "--model", str(addition_model()[0]), "--convention", "tl"]
    return LongRun("addition", arguments, QUICK if quick else ["--minutes", "15"])


def only_train() -> None:
    """Nothing else."""
    train(long_run(), long_run().folder)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(only_train, "addition_decoder")
