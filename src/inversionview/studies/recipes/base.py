"""What a recipe is: a function that gives the whole configuration of one run. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inversionview.decoder.model import DecoderSizes
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.probed.model import ProbedModel
    from inversionview.tasks.base import Task
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
    make_task: Callable[[], Task] | None = None
    """Makes a task that is more than its name; what it is made of is kept with the study."""
    reading: str = ""
    """The recipe for its decoders; empty where it has the task's name."""
    all_tokens: bool = False
    """Whether it learns to predict every token, or those of the answer alone."""


def gpt2_fields(special: tuple[int, int, int], *, dropout: float = 0.0, **sizes: Any) -> dict[str, Any]:
    """Fields of transformers' `GPT2Config`; `special` are the tokens for begin, end and padding.

    Dropout is that of the embeddings and of what each layer adds, never of attention. The activation function is
    GPT-2's own in its fused form, which is faster.
    """
    dropouts = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": 0.0}
    tokens = dict(zip(("bos_token_id", "eos_token_id", "pad_token_id"), special, strict=True))
    return {"activation_function": "gelu_pytorch_tanh", **sizes, **dropouts, **tokens}


def constant_adamw(rate: float, batch: int, steps: int, budget: Budget, seed: int) -> TrainingConfig:
    """AdamW for all weights at a constant rate, as the paper trains."""
    from inversionview.training import TrainingConfig

    return TrainingConfig(
        batch_size=batch,
        learning_rate_matrices=None,
        learning_rate=rate,
        warmup_steps=0,
        final_fraction=1.0,
        precision="fp32",  # the matrices are too small for bf16 to pay
        seed=seed,
        **budget.or_else(steps=steps),
    )


@dataclass(frozen=True)
class TaskSource:
    """What a user gave for a task to be made of."""

    texts: str | tuple[str, ...] | None = None
    """A file or folder of texts, or the name of a data set, or several; None for what the recipe has without."""
    column: str | None = None
    """Which column of them holds the text."""
    length: int | None = None
    """Tokens an input, the begin token included."""

    @property
    def sources(self) -> tuple[str, ...]:
        """What `texts` names, one by one."""
        return (self.texts,) if isinstance(self.texts, str) else self.texts or ()


@dataclass(frozen=True)
class DecoderRecipe:
    """A decoder to train for a probed model of a task; its sites are those of the study or the model."""

    task: str
    convention: str
    metric: str
    epsilon: float | str
    """One number for all sites, or a rule such as `null:0.02` that gives each site its own."""
    decoder: DecoderSizes
    """Fields of `DecoderConfig` that differ from its defaults."""
    data: DecoderTrainingConfig
    training: TrainingConfig
    rate_queries: int
    """Queries a site in each measurement of the in-ε rates by which sites are re-weighted."""
    kinds: tuple[str, ...] = ("head", "resid_mid", "resid_post")
    """Kinds of site to read in every layer, beside the first residual stream."""
    make_task: Callable[[ProbedModel, TaskSource], Task] | None = None
    """Makes the task for a model that comes without a study; None for a task that is no more than its name."""
    choose_sites: Callable[..., tuple[str, ...]] | None = None
    """Chooses the sites by what the model does with inputs of the task, in place of all of `kinds`.

    Takes the model, the task and, where the user says it, `layers` (`all` or `upper`).
    """
    read: str = "anywhere"
    """Which activations are taken, by the names that `decoder.places.make_places` knows."""


def small_decoder(
    task: str, make_task: Callable[[ProbedModel, TaskSource], Task], budget: Budget, seed: int
) -> DecoderRecipe:
    """A decoder of half the paper's width, for a small language model: every head, MLP output and residual stream."""
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task=task,
        convention="tl",
        metric="euclidean",
        epsilon=0.1,
        decoder={"d_model": 128, "trunk_width": 256, "constrained": True},
        data=DecoderTrainingConfig(seed=seed, groups=6, reweight_every=500),
        training=TrainingConfig(batch_size=256, matrices_every=2, seed=seed, **budget.or_else(minutes=30.0)),
        rate_queries=30,
        kinds=("head", "mlp_out", "resid_post"),
        make_task=make_task,
    )


def small_model(
    task: str, make_task: Callable[[], Task], reading: str, budget: Budget, seed: int, **sizes: int
) -> ProbedRecipe:
    """A small language model of GPT-2's architecture; its decoders are trained by the recipe `reading`."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task=task,
        model=gpt2_fields((0, 1, 2), **sizes),
        training=TrainingConfig(batch_size=256, precision="fp32", seed=seed, **budget.or_else(steps=1500)),
        convention="tl",
        make_task=make_task,
        reading=reading,
    )


@dataclass(frozen=True)
class Budget:
    """How long to train; a recipe has its own length where neither is given."""

    minutes: float | None = None
    steps: int | None = None

    def or_else(self, **length: Any) -> dict[str, Any]:
        """The fields of `TrainingConfig` that say the length."""
        return length if self.minutes is None and self.steps is None else {"minutes": self.minutes, "steps": self.steps}


MINUTES_BATCH = 256
"""Instances a step of a run of some minutes, for a recipe that is the paper's without a budget."""


def published_or_short(budget: Budget, *, epochs: int, epoch: int, batch: int) -> dict[str, Any]:
    """Length and batch, as `TrainingConfig` has them: the paper's without a budget; in one, larger and fewer steps."""
    if budget == Budget():
        return {"batch_size": batch, "steps": epochs * epoch // batch}
    return {"batch_size": MINUTES_BATCH, **budget.or_else()}


MakeProbedRecipe = Callable[[Budget, int], ProbedRecipe]
MakeDecoderRecipe = Callable[[Budget, int], DecoderRecipe]


def needs(options: str) -> Callable[[MakeDecoderRecipe], MakeDecoderRecipe]:
    """Marks a recipe that brings no probed model with the options to give, such as `--model MODEL`."""

    def mark(recipe: MakeDecoderRecipe) -> MakeDecoderRecipe:
        recipe.__dict__["needs"] = options
        return recipe

    return mark


def options_of(recipe: MakeDecoderRecipe) -> str:
    """What `needs` says of a recipe; empty where it needs nothing."""
    options: str = getattr(recipe, "needs", "")
    return options
