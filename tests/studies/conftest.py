from __future__ import annotations

import pytest

from inversionview.studies import recipes
from tests.preimage.tiny import gpt2, task
from tests.studies.runs import tiny_recipe


@pytest.fixture
def tiny_runs(monkeypatch):
    """Runs of addition take few steps of a tiny decoder, and few inputs are measured."""
    monkeypatch.setitem(recipes.DECODER_RECIPES, "addition", tiny_recipe)
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 200)
    # One task for all, since making the split of a new one takes a second.
    for user in ("training_runs", "folder", "opening"):
        monkeypatch.setattr(f"inversionview.studies.{user}.get_task", lambda name, *of: task())


@pytest.fixture
def model(tmp_path):
    gpt2().save_pretrained(tmp_path / "model")
    return tmp_path / "model"
