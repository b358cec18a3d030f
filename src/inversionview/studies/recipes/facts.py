"""Factual recall: a small model of facts, and GPT-2 XL as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inversionview.studies.recipes.base import Budget, DecoderRecipe, ProbedRecipe

if TYPE_CHECKING:
    from inversionview.tasks.facts import FactsTask

_WORDS, _POSITIONS = 1154, 17
"""Of the bundled table; `small_task` is what they are counted from, and a test holds them to it."""


def small_task() -> FactsTask:
    """The table that the package brings, in words."""
    from inversionview.tasks.facts import FactsTask
    from inversionview.tasks.facts_tables import FactTable
    from inversionview.tasks.facts_words import word_tokenizer
    from inversionview.tasks.vocabulary import Vocabulary

    table = FactTable.bundled()
    return FactsTask(Vocabulary(word_tokenizer(said.text for said in table.statements())), table)


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
        decoder={"d_model": 192, "constrained": True},
        data=DecoderTrainingConfig(seed=seed, activations_per_input=4, groups=6, reweight_every=500),
        training=TrainingConfig(batch_size=256, seed=seed, **budget.or_else(minutes=12.0)),
        rate_queries=30,
        kinds=("head", "mlp_out", "resid_post"),
        make_task=lambda probed, source: small_task(),
    )
