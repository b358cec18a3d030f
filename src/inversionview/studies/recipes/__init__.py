"""Recipes: one function a run, which gives its whole configuration. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Callable

from inversionview.errors import UserError
from inversionview.studies.recipes.addition import addition, probed_addition
from inversionview.studies.recipes.base import Budget, DecoderRecipe, ProbedRecipe, TaskSource
from inversionview.studies.recipes.counting import counting, probed_counting
from inversionview.studies.recipes.facts import facts, facts_small, probed_facts_small
from inversionview.studies.recipes.ioi import ioi, ioi_small, probed_ioi_small
from inversionview.studies.recipes.text import free_text

__all__ = [
    "DECODER_RECIPES", "PROBED_RECIPES", "Budget", "DecoderRecipe", "ProbedRecipe", "TaskSource", "decoder_recipe",
    "probed_recipe",
]  # fmt: skip

PROBED_RECIPES: dict[str, Callable[[Budget, int], ProbedRecipe]] = {
    "addition": probed_addition,
    "counting": probed_counting,
    "facts-small": probed_facts_small,
    "ioi-small": probed_ioi_small,
}
DECODER_RECIPES: dict[str, Callable[[Budget, int], DecoderRecipe]] = {
    "addition": addition,
    "counting": counting,
    "facts": facts,
    "facts-small": facts_small,
    "ioi": ioi,
    "ioi-small": ioi_small,
    "text": free_text,
}
GIVEN = {"facts": "--model gpt2-xl --texts FACTS", "ioi": "--model gpt2", "text": "--model MODEL"}
"""What those that bring no probed model are given, as in the paper where it has one."""


def probed_recipe(name: str) -> Callable[[Budget, int], ProbedRecipe]:
    """The recipe of this name for a probed model. Raises `UserError` that lists the ones there are."""
    if name not in PROBED_RECIPES:
        raise UserError(f"there is no recipe {name!r} for a probed model; the recipes are: {', '.join(PROBED_RECIPES)}")
    return PROBED_RECIPES[name]


def decoder_recipe(name: str) -> Callable[[Budget, int], DecoderRecipe]:
    """The recipe of this name for decoders. Raises `UserError` that lists the ones there are."""
    if name not in DECODER_RECIPES:
        raise UserError(f"there is no recipe {name!r} for decoders; the recipes are: {', '.join(DECODER_RECIPES)}")
    return DECODER_RECIPES[name]
