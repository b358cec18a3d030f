"""Factual recall: a small model of facts, and GPT-2 XL as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.errors import UserError
from inversionview.studies.recipes.base import Budget, DecoderRecipe, ProbedRecipe, TaskSource

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel
    from inversionview.tasks.facts import FactsTask

_WORDS, _POSITIONS = 1154, 17
"""Of the bundled table; `small_task` is what they are counted from, and a test holds them to it."""
LENGTH = 40
"""Most tokens of a text for a model that is given, the begin token included; longer ones are left out."""


def small_task() -> FactsTask:
    """The table that the package brings, in words."""
    from inversionview.tasks.facts import FactsTask
    from inversionview.tasks.facts_tables import FactTable
    from inversionview.tasks.facts_words import word_tokenizer
    from inversionview.tasks.vocabulary import Vocabulary

    table = FactTable.bundled()
    return FactsTask(Vocabulary(word_tokenizer(said.text for said in table.statements())), table)


def _small_task_for(probed: ProbedModel, source: TaskSource) -> FactsTask:
    if source != TaskSource():
        raise UserError("facts-small has its own table: leave out --texts, --column and --length, or use recipe facts")
    return small_task()


def probed_facts_small(budget: Budget, seed: int = 0) -> ProbedRecipe:
    """A model of GPT-2's architecture (4 layers, 4 heads, d=96) that names the object of some 1,800 facts."""
    from inversionview.training import TrainingConfig

    return ProbedRecipe(
        task="facts",
        model={
            "vocab_size": _WORDS,
            "n_positions": _POSITIONS,
            "n_embd": 96,
            "n_layer": 4,
            "n_head": 4,
            "activation_function": "gelu_pytorch_tanh",
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
        },
        training=TrainingConfig(batch_size=256, precision="fp32", seed=seed, **budget.or_else(steps=1500)),
        convention="tl",
        make_task=small_task,
        reading="facts-small",
    )


def facts_small(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for the small model of facts: every head, MLP output and residual stream."""
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task="facts",
        convention="tl",
        metric="euclidean",
        epsilon=0.1,
        decoder={"d_model": 128, "trunk_width": 256, "constrained": True},
        data=DecoderTrainingConfig(seed=seed, activations_per_input=4, groups=6, reweight_every=500),
        training=TrainingConfig(batch_size=256, seed=seed, **budget.or_else(minutes=30.0)),
        rate_queries=30,
        kinds=("head", "mlp_out", "resid_post"),
        make_task=_small_task_for,
    )


def facts(budget: Budget, seed: int = 0) -> DecoderRecipe:
    """A decoder for GPT-2 XL, or any model with a tokenizer, on facts of BEAR or COUNTERFACT; the paper's metric and ε.

    Without `--sites` it is for every head. The paper's 25 are chosen as `studies.facts_queries.heads_at_end` does, and
    `choose_queries` there says which of their activations to read. What differs from the paper: the decoder is trained
    at all positions alike, and on facts only, without MiniPile; to make it of a pretrained model is asked separately.
    """
    from inversionview.decoder.training import DecoderTrainingConfig
    from inversionview.training import TrainingConfig

    return DecoderRecipe(
        task="facts",
        convention="tl",
        metric="cosine",
        epsilon=0.25,
        decoder={},
        data=DecoderTrainingConfig(seed=seed, activations_per_input=4, groups=6),
        training=TrainingConfig(batch_size=256, seed=seed, **budget.or_else(minutes=240.0)),
        rate_queries=20,
        kinds=("head",),
        make_task=make_task,
    )


def make_task(probed: ProbedModel, source: TaskSource) -> FactsTask:
    """The facts of a folder of BEAR or a COUNTERFACT file. Raises `UserError` where none is given."""
    from inversionview.tasks.facts import FactsTask
    from inversionview.tasks.facts_files import read_facts
    from inversionview.tasks.vocabulary import Vocabulary

    if source.texts is None:
        raise UserError("recipe facts needs facts: give --texts with a folder of BEAR or a COUNTERFACT file (.json)")
    if source.column is not None:
        raise UserError("facts are not in columns: leave out --column")
    return FactsTask(Vocabulary(probed.tokenizer), read_facts(source.texts), length=source.length or LENGTH)
