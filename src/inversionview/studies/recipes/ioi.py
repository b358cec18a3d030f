"""Indirect object identification: a small model of our own sentences, and GPT-2 small as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.errors import UserError
from inversionview.studies.recipes.base import (
    Budget,
    DecoderRecipe,
    ProbedRecipe,
    TaskSource,
    needs,
    published_or_short,
    small_decoder,
    small_model,
)

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel
    from inversionview.tasks.template.task import TemplateTask

QUERIED = (
    "a7.3", "a7.9", "a8.6", "a8.10", "a10.7", "a11.10", "a9.9", "a9.6", "a10.0", "a9.0", "a9.7", "a10.1", "a10.2",
    "a10.6", "a10.10", "a11.2", "a11.9", "a0.1", "a3.0", "a0.10", "a5.5", "a6.9", "a5.8", "a5.9", "a2.2", "a4.11",
)  # fmt: skip
"""The heads of GPT-2 small whose activations InversionView reads: the circuit of Wang et al. (arXiv 2211.00593)."""
EPOCHS, EPOCH, BATCH = 100, 200_000, 128
"""The paper's: epochs, activations in each, and activations in a batch."""
SMALL = {
    "names": (
        "Alice", "Brian", "Carol", "David", "Emma", "Frank", "Grace", "Henry", "Jane", "Kevin", "Laura",
        "Martin", "Nancy", "Oliver", "Paul", "Rachel",
    ),
    "places": (
        "school", "garden", "market", "station",
    ),
    "objects": (
        "book", "ring", "map", "lamp", "cake",
    ),
}  # fmt: skip
"""The words of the small task, in place of the lists that the template has."""
_WORDS, _POSITIONS = 65, 21
"""Of the small task; `small_task` is what they are counted from, and a test holds them to it."""


def small_task() -> TemplateTask:
    """Sixteen names, four places and five objects in a vocabulary of their own: 307,200 sentences."""
    from inversionview.tasks.template.file import bundled, read_template
    from inversionview.tasks.template.task import TemplateTask
    from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer

    declared = read_template(bundled()["ioi"], lists=SMALL)
    return TemplateTask.of(declared, Vocabulary(word_tokenizer(declared.words)))


def _small_task_for(probed: ProbedModel, source: TaskSource) -> TemplateTask:
    if source != TaskSource():
        raise UserError("ioi-small has its own sentences: leave out --texts, --column and --length")
    return small_task()


def probed_ioi_small(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """A model of GPT-2's architecture (3 layers, 4 heads, d=64) that names the indirect object."""
    sizes = {"vocab_size": _WORDS, "n_positions": _POSITIONS, "n_embd": 64, "n_layer": 3, "n_head": 4}
    return small_model("ioi", small_task, "ioi-small", budget, seed, **sizes)


def ioi_small(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for the small model: every head, MLP output and residual stream."""
    return small_decoder("ioi", _small_task_for, budget, seed)


@needs("--model gpt2")
def ioi(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for GPT-2 small, or any model with a tokenizer: `x0.pre`, every head, every MLP; the paper's metric, ε.

    Of GPT-2 small that is 157 sites; those in `QUERIED` are what the paper reads. Without a budget, a hundred of its
    epochs of 200,000 activations, 128 in a batch as there; that takes a GPU.
    """
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task="ioi",
        convention="tl",
        metric="cosine",
        epsilon=0.1,
        decoder={"constrained": True, "n_quantiles": 64, "n_frequencies": 4, "own_inputs": True},
        data=DecoderTrainingConfig(seed=seed, megabytes=1024, groups=6),
        training=TrainingConfig(
            matrices_every=2, seed=seed, **published_or_short(budget, epochs=EPOCHS, epoch=EPOCH, batch=BATCH)
        ),
        rate_queries=20,
        kinds=("head", "mlp_out"),
        make_task=make_task,
    )


def make_task(probed: ProbedModel, source: TaskSource) -> TemplateTask:
    """Our sentences in the model's tokens, of the names, places and objects that are one token of them."""
    from inversionview.tasks.template.bundled import open_template
    from inversionview.tasks.template.file import bundled

    if source != TaskSource():
        raise UserError(
            "ioi is of sentences of its own: leave out --texts, --column and --length, or train recipe text"
        )
    return open_template(bundled()["ioi"], probed)
