"""Three-digit addition."""

from __future__ import annotations

from inversionview.studies.recipes.base import Budget, DecoderRecipe, ProbedRecipe, gpt2_fields


def probed_addition(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """The paper's model of 3-digit addition (2 layers, 4 heads, d=32), trained with Muon and without dropout."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task="addition",
        model=gpt2_fields((10, 13, 14), vocab_size=15, n_positions=14, n_embd=32, n_layer=2, n_head=4),
        training=TrainingConfig(
            batch_size=512,
            precision="fp32",  # the matrices are too small for bf16 to pay
            seed=seed,
            **budget.or_else(steps=3000),
        ),
        convention="tl",
    )


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
