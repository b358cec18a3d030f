"""Three-digit addition."""

from __future__ import annotations

from typing import Any

from inversionview.studies.recipes.base import Budget, DecoderRecipe, ProbedRecipe, constant_adamw, gpt2_fields

RATE, BATCH, STEPS, DROPOUT = 1e-4, 512, 59_350, 0.1
"""The paper's for the probed model: learning rate, sums in a batch, 50 epochs of 607,500 sums, dropout."""


def probed_addition(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """The paper's model of 3-digit addition (2 layers, 4 heads, d=32), trained as there."""
    return ProbedRecipe(
        task="addition",
        model=_model(dropout=DROPOUT),
        training=constant_adamw(RATE, BATCH, STEPS, budget, seed),
        convention="tl",
        all_tokens=True,
    )


def probed_addition_muon(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """A model of the same size within minutes: with Muon, without dropout, of the answer alone."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task="addition",
        model=_model(),
        training=TrainingConfig(batch_size=BATCH, precision="fp32", seed=seed, **budget.or_else(steps=3000)),
        convention="tl",
    )


def _model(**dropout: float) -> dict[str, Any]:
    sizes = {"vocab_size": 15, "n_positions": 14, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return gpt2_fields((10, 13, 14), **dropout, **sizes)


def addition(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder of the paper's size for models of 3-digit addition."""
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    short = budget.minutes is not None and budget.minutes < 5
    return DecoderRecipe(
        task="addition",
        convention="tl",
        metric="euclidean",
        epsilon=0.1,
        decoder={"constrained": True},
        data=DecoderTrainingConfig(seed=seed, groups=6, reweight_every=500),
        training=TrainingConfig(
            # A short run has few steps unless they are small.
            batch_size=256 if short else 512,
            matrices_every=2,
            warmup_steps=20 if short else 100,
            seed=seed,
            **budget.or_else(minutes=15.0),
        ),
        rate_queries=100,
    )
