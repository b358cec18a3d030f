"""Factual recall: a small model of facts, and GPT-2 XL as published."""

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
    from inversionview.studies.settings import Layers
    from inversionview.tasks.base import Task
    from inversionview.tasks.facts.task import FactsTask
    from inversionview.tasks.facts.with_texts import FactsAndTextsTask
    from inversionview.tasks.template.task import TemplateTask

QUERIED = (
    "a31.0", "a33.0", "a38.22", "a29.9", "a37.7", "a32.12", "a31.8", "a24.24", "a28.3", "a25.7", "a28.21", "a27.16",
    "a42.24", "a31.4", "a34.20", "a30.23", "a24.8", "a30.8", "a25.10", "a33.9", "a32.15", "a30.1", "a29.20", "a36.17",
    "a35.19",
)  # fmt: skip
"""The heads of GPT-2 XL that InversionView reads, in its order: what its head selection gave in layers 24 to 47."""
EPOCHS, EPOCH, BATCH = 160, 200_000, 128
"""The paper's: epochs, activations in each, and activations in a batch."""
_WORDS, _POSITIONS = 1154, 17
"""Of the bundled template; `small_task` is what they are counted from, and a test holds them to it."""
LENGTH = 40
"""Most tokens of a text for a model that is given, the begin token included; longer ones are left out."""


def small_task() -> TemplateTask:
    """The bundled template of facts, in words."""
    from inversionview.tasks.template.file import bundled, read_template
    from inversionview.tasks.template.task import TemplateTask
    from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer

    declared = read_template(bundled()["facts"])
    return TemplateTask.of(declared, Vocabulary(word_tokenizer(declared.words)))


def _small_task_for(probed: ProbedModel, source: TaskSource) -> TemplateTask:
    if source != TaskSource():
        raise UserError("facts-small has its own table: leave out --texts, --column and --length, or use recipe facts")
    return small_task()


def probed_facts_small(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """A model of GPT-2's architecture (4 layers, 4 heads, d=96) that names the object of some 1,800 facts."""
    sizes = {"vocab_size": _WORDS, "n_positions": _POSITIONS, "n_embd": 96, "n_layer": 4, "n_head": 4}
    return small_model("facts", small_task, "facts-small", budget, seed, **sizes)


def facts_small(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for the small model of facts: every head, MLP output and residual stream."""
    return small_decoder("facts", _small_task_for, budget, seed)


@needs("--model gpt2-xl --texts FACTS")
def facts(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for GPT-2 XL, or any model, on facts of BEAR and COUNTERFACT and sentences of MiniPile.

    Without `--texts`, on the facts that come with the package.
    Without `--sites`, for the 25 heads that count most often at END, chosen when the training starts, of the upper half
    of the layers as in the paper, or of all with `--layers all`; the paper's own are `QUERIED`. Its activations are
    half at END and half where the head looks at the begin token least, and never where that gets 0.6 of its attention.
    Metric, ε and batch are the paper's, and without a budget its 160 epochs of 200,000 activations, which takes a GPU.
    It also makes the decoder of GPT-2 Medium: that is asked for by `--decoder-from`.
    """
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task="facts",
        convention="tl",
        metric="cosine",
        epsilon=0.25,
        decoder={},
        data=DecoderTrainingConfig(seed=seed, groups=6),
        training=TrainingConfig(
            matrices_every=2, seed=seed, **published_or_short(budget, epochs=EPOCHS, epoch=EPOCH, batch=BATCH)
        ),
        rate_queries=20,
        kinds=("head",),
        make_task=make_task,
        choose_sites=choose_sites,
        read="attended",
    )


def choose_sites(probed: ProbedModel, task: Task, layers: Layers = "upper") -> tuple[str, ...]:
    """The heads that count most often at END, at most 25, of the upper half of the layers or of all."""
    from inversionview.studies.facts_queries import heads_at_end

    return heads_at_end(probed, task, layers=layers)


def make_task(probed: ProbedModel, source: TaskSource) -> TemplateTask | FactsTask | FactsAndTextsTask:
    """The bundled facts, or those of BEAR and COUNTERFACT, with sentences where texts are given too.

    Raises `UserError` where texts are given, and no fact is.
    """
    from inversionview.tasks.facts.sources import read_sources
    from inversionview.tasks.facts.task import FactsTask
    from inversionview.tasks.facts.with_texts import FactsAndTextsTask
    from inversionview.tasks.template.bundled import open_template
    from inversionview.tasks.template.file import bundled
    from inversionview.tasks.text.task import TextTask
    from inversionview.tasks.vocabulary import Vocabulary

    advice = "give --texts with a folder of BEAR or a COUNTERFACT file (.json), and once more for free texts"
    if not source.sources:
        if source != TaskSource():
            raise UserError(f"--column and --length are for facts and texts of one's own: {advice}")
        return open_template(bundled()["facts"], probed)
    vocabulary, length = Vocabulary.of(probed), source.length or LENGTH
    table, sentences = read_sources(source.sources, source.column)
    if table is None:
        raise UserError(f"there are no facts in {' or '.join(source.sources)}: {advice}")
    facts = FactsTask(vocabulary, table, length=length)
    if not sentences:
        if source.column is not None:
            raise UserError("facts are not in columns: leave out --column")
        return facts
    return FactsAndTextsTask(facts, TextTask.from_texts(vocabulary, sentences, length))
