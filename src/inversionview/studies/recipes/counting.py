"""Character counting."""

from __future__ import annotations

from typing import Any

from inversionview.studies.recipes.base import Budget, DecoderRecipe, ProbedRecipe, constant_adamw, gpt2_fields

RATE, BATCH, STEPS = 5e-4, 128, 914_100
"""The paper's for the probed model: learning rate, inputs in a batch, 100 epochs of 1.17 million inputs."""


def probed_counting(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """The paper's model of character counting (2 layers, 1 head, d=64), trained as there."""
    return ProbedRecipe(
        task="counting",
        model=_model(),
        training=constant_adamw(RATE, BATCH, STEPS, budget, seed),
        convention="tl",
    )


def probed_counting_muon(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """A model of the same size in less time, with Muon."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task="counting",
        model=_model(),
        training=TrainingConfig(batch_size=512, precision="fp32", seed=seed, **budget.or_else(steps=6000)),
        convention="tl",
    )


def _model() -> dict[str, Any]:
    sizes = {"vocab_size": 40, "n_positions": 33, "n_embd": 64, "n_layer": 2, "n_head": 1}
    return gpt2_fields((37, 38, 39), **sizes)


def counting(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder of the paper's size for models of character counting."""
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task="counting",
        convention="tl",
        metric="euclidean",
        epsilon=0.1,
        decoder={"constrained": True},  # how to count is not what it has to learn
        data=DecoderTrainingConfig(seed=seed, groups=6, reweight_every=500),
        training=TrainingConfig(batch_size=512, matrices_every=2, seed=seed, **budget.or_else(minutes=60.0)),
        rate_queries=100,
        kinds=("head", "resid_mid", "mlp_out", "resid_post"),
    )
