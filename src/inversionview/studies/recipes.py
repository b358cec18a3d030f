"""Recipes: one function a run, which gives its whole configuration. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inversionview.errors import UserError

if TYPE_CHECKING:
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig


@dataclass(frozen=True)
class ProbedRecipe:
    """A probed model to train from scratch."""

    task: str
    model: dict[str, Any]
    """Fields of transformers' `GPT2Config`."""
    training: TrainingConfig
    convention: str
    """In which form the model's activations are then read."""


@dataclass(frozen=True)
class DecoderRecipe:
    """A decoder to train for a probed model of a task; its sites are those of the study or the model."""

    task: str
    convention: str
    metric: str
    epsilon: float
    decoder: dict[str, Any]
    """Fields of `DecoderConfig` that differ from its defaults."""
    data: DecoderTrainingConfig
    training: TrainingConfig
    rate_queries: int
    """Queries a site in each measurement of the in-ε rates by which sites are re-weighted."""
    kinds: tuple[str, ...] = ("head", "resid_mid", "resid_post")
    """Kinds of site to read in every layer, beside the first residual stream."""


@dataclass(frozen=True)
class Budget:
    """How long to train; a recipe has its own length where neither is given."""

    minutes: float | None = None
    steps: int | None = None

    def or_else(self, **length: Any) -> dict[str, Any]:
        """The fields of `TrainingConfig` that say the length."""
        return length if self.minutes is None and self.steps is None else {"minutes": self.minutes, "steps": self.steps}


def probed_addition(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """The paper's model of 3-digit addition (2 layers, 4 heads, d=32), trained with Muon and without dropout."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task="addition",
        model={
            "vocab_size": 15,
            "n_positions": 14,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "bos_token_id": 10,
            "eos_token_id": 13,
            "pad_token_id": 14,
        },
        training=TrainingConfig(
            batch_size=512,
            precision="fp32",  # the matrices are too small for bf16 to pay
            seed=seed,
            **budget.or_else(steps=3000),
        ),
        convention="tl",
    )


def probed_counting(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """The paper's model of character counting (2 layers, 1 head, d=64), trained with Muon and without dropout."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task="counting",
        model={
            "vocab_size": 40,
            "n_positions": 33,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 1,
            "activation_function": "gelu_pytorch_tanh",  # GPT-2's function, fused: half the time of a step
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "bos_token_id": 37,
            "eos_token_id": 38,
            "pad_token_id": 39,
        },
        training=TrainingConfig(batch_size=512, precision="fp32", seed=seed, **budget.or_else(steps=6000)),
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
        decoder={},
        data=DecoderTrainingConfig(seed=seed, activations_per_input=1 if short else 2, groups=6, reweight_every=500),
        training=TrainingConfig(
            # Learning to add takes a few hundred steps: in a short run they must be small.
            batch_size=256 if short else 512,
            warmup_steps=20 if short else 100,
            seed=seed,
            **budget.or_else(minutes=15.0),
        ),
        rate_queries=100,
    )


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
        data=DecoderTrainingConfig(seed=seed, activations_per_input=2, groups=6, reweight_every=500),
        training=TrainingConfig(batch_size=512, seed=seed, **budget.or_else(minutes=60.0)),
        rate_queries=100,
        kinds=("head", "resid_mid", "mlp_out", "resid_post"),
    )


PROBED_RECIPES: dict[str, Callable[[Budget, int], ProbedRecipe]] = {
    "addition": probed_addition,
    "counting": probed_counting,
}
DECODER_RECIPES: dict[str, Callable[[Budget, int], DecoderRecipe]] = {"addition": addition, "counting": counting}


def probed_recipe(name: str) -> Callable[[Budget, int], ProbedRecipe]:
    """The recipe of this name for a probed model. Raises `UserError` that lists the ones there are."""
    if name not in PROBED_RECIPES:
        raise UserError(f"there is no recipe {name!r} for a probed model; the recipes are: {', '.join(PROBED_RECIPES)}")
    return PROBED_RECIPES[name]


def decoder_recipe(task: str) -> Callable[[Budget, int], DecoderRecipe]:
    """The recipe for decoders of this task. Raises `UserError` that lists the ones there are."""
    if task not in DECODER_RECIPES:
        raise UserError(f"there is no recipe for task {task!r}; there are recipes for: {', '.join(DECODER_RECIPES)}")
    return DECODER_RECIPES[task]
