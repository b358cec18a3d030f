"""Training runs of a few steps."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

from inversionview.decoder.training import DecoderTrainingConfig
from inversionview.studies import recipes
from inversionview.studies.recipes import Budget, DecoderRecipe
from inversionview.training import TrainingConfig


def tiny_recipe(budget: Budget, seed: int = 0) -> DecoderRecipe:
    training = TrainingConfig(
        batch_size=8, warmup_steps=2, precision="fp32", log_every=1, seed=seed, **budget.or_else(steps=4)
    )
    return DecoderRecipe(
        task="addition",
        convention="tl",
        metric="euclidean",
        epsilon=0.1,
        decoder={"d_model": 16, "n_heads": 2, "trunk_blocks": 1, "trunk_width": 16},
        data=DecoderTrainingConfig(seed=seed, reweight_every=2),
        training=training,
        rate_queries=3,
    )


def losses(out) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def stop_at(step: int):
    """A logger that sends Ctrl-C when so many steps are done."""

    class Stopper:
        def log(self, done, total, values):
            if done == step:
                os.kill(os.getpid(), signal.SIGINT)

        def close(self):
            pass

    return Stopper()


def tiny_probed(budget: Budget, seed: int = 0) -> recipes.ProbedRecipe:
    real = recipes.probed_addition(budget, seed)
    training = TrainingConfig(batch_size=8, precision="fp32", log_every=1, seed=seed, **budget.or_else(steps=4))
    return dataclasses.replace(real, model={**real.model, "n_embd": 8, "n_head": 2}, training=training)
