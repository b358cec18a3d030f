"""The small language models that `make real-models` gets, for tests that are marked `real_model(NAME, ...)`."""

import functools
import os
from pathlib import Path

import pytest

from tests.paths import ROOT

SMOLLM2, GEMMA3 = "smollm2-135m", "gemma-3-270m"
VARIABLE = "INVERSIONVIEW_REAL_MODELS"


def folder_of(name):
    """Where a real model is, if it is anywhere: in the folder that the variable names, or in the checkout's."""
    return Path(os.environ.get(VARIABLE) or ROOT / "models") / name


def real_model(*names):
    """Marks a test that needs these models; elsewhere it is skipped."""
    return pytest.mark.real_model(*names)


def skip_without_models(items):
    """Skip the tests whose models are not here, and say which."""
    for item in items:
        needed = [name for mark in item.iter_markers("real_model") for name in mark.args]
        if missing := [name for name in needed if not folder_of(name).is_dir()]:
            item.add_marker(pytest.mark.skip(reason=f"{', '.join(missing)} is not here: `make real-models` gets it"))


@functools.cache
def load_real(name, convention="raw", dtype="float32"):
    """A real model on the CPU, loaded once in a process."""
    from inversionview.probed.model import ProbedModel

    return ProbedModel.from_pretrained(folder_of(name), convention=convention, device="cpu", dtype=dtype)
