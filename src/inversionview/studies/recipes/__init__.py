"""Recipes: one function a run, which gives its whole configuration. Importing this needs no torch."""

from __future__ import annotations

from inversionview.registry import Registry
from inversionview.studies.recipes.addition import addition, probed_addition, probed_addition_muon
from inversionview.studies.recipes.base import (
    Budget,
    DecoderRecipe,
    MakeDecoderRecipe,
    MakeProbedRecipe,
    ProbedRecipe,
    TaskSource,
    needs,
    options_of,
)
from inversionview.studies.recipes.counting import counting, probed_counting, probed_counting_muon
from inversionview.studies.recipes.facts import facts, facts_small, probed_facts_small
from inversionview.studies.recipes.ioi import ioi, ioi_small, probed_ioi_small
from inversionview.studies.recipes.text import free_text

__all__ = [
    "DECODER_RECIPES", "PROBED_RECIPES", "Budget", "DecoderRecipe", "ProbedRecipe", "TaskSource", "decoder_recipe",
    "needs", "options_of", "probed_recipe", "register_probed_recipe", "register_recipe",
]  # fmt: skip

PROBED_RECIPES: Registry[MakeProbedRecipe] = Registry(
    "recipe",
    "inversionview.probed_recipes",
    {
        "addition": probed_addition,
        "counting": probed_counting,
        "facts-small": probed_facts_small,
        "ioi-small": probed_ioi_small,
        "addition-muon": probed_addition_muon,
        "counting-muon": probed_counting_muon,
    },
    of="for a probed model",
)
DECODER_RECIPES: Registry[MakeDecoderRecipe] = Registry(
    "recipe",
    "inversionview.recipes",
    {
        "addition": addition,
        "counting": counting,
        "facts": facts,
        "facts-small": facts_small,
        "ioi": ioi,
        "ioi-small": ioi_small,
        "text": free_text,
    },
    of="for decoders",
)


def register_recipe(name: str, make: MakeDecoderRecipe) -> None:
    """Let decoders be trained by a recipe of your own; `make(budget, seed)` gives it.

    Raises `UserError` for a name that another one has.
    """
    DECODER_RECIPES.register(name, make)


def register_probed_recipe(name: str, make: MakeProbedRecipe) -> None:
    """The same for a probed model to train from scratch."""
    PROBED_RECIPES.register(name, make)


def probed_recipe(name: str) -> MakeProbedRecipe:
    """The recipe of this name for a probed model. Raises `UserError` that lists the ones there are."""
    return PROBED_RECIPES.find(name)


def decoder_recipe(name: str) -> MakeDecoderRecipe:
    """The recipe of this name for decoders. Raises `UserError` that lists the ones there are."""
    return DECODER_RECIPES.find(name)
