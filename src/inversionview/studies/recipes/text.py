"""Free text and any Hugging Face causal language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.studies.recipes.base import Budget, DecoderRecipe, TaskSource, needs

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel
    from inversionview.tasks.base import Task

LENGTH = 20
SAMPLED, FEWEST_SAMPLED = 100_000, 2000
"""Texts that are sampled from a small model, and from a large one."""


@needs("--model MODEL")
def free_text(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for texts of one's own, or sampled from the model; ε by the null quantile, for each site its own."""
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task="text",
        convention="raw",
        metric="euclidean",
        epsilon="null:0.05",  # at early positions, some 3% of unrelated texts have the very same activation
        decoder={},
        data=DecoderTrainingConfig(seed=seed, megabytes=2048, groups=6, reweight_every=500),
        training=TrainingConfig(batch_size=256, matrices_every=2, seed=seed, **budget.or_else(minutes=25.0)),
        rate_queries=50,
        kinds=("head", "resid_post"),
        make_task=lambda probed, source: make_task(probed, source, seed),
    )


def make_task(probed: ProbedModel, source: TaskSource, seed: int = 0) -> Task:
    """Windows of the given texts, or where there are none, texts sampled from the model."""
    from inversionview.tasks.text.files import read_texts
    from inversionview.tasks.text.sampling import affordable
    from inversionview.tasks.text.task import TextTask
    from inversionview.tasks.vocabulary import Vocabulary

    length = source.length or LENGTH
    if source.sources:
        vocabulary = Vocabulary.of(probed)
        texts = [text for given in source.sources for text in read_texts(given, source.column)]
        return TextTask.from_texts(vocabulary, texts, length)
    return TextTask.sampled(probed, length, n=affordable(SAMPLED, FEWEST_SAMPLED, probed), seed=seed)
