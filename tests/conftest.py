"""Shapes are checked while the tests run: those in the package's annotations, by jaxtyping."""

import os
import signal

import pytest
import torch
from jaxtyping import install_import_hook

import tests.shape_checks  # noqa: F401 -- found by the name below
from tests.paths import SHARED
from tests.probed.seldom import mark_seldom
from tests.real_models import skip_without_models

install_import_hook("inversionview", "tests.shape_checks.checked")

# A shell that starts the tests in the background has them ignore Ctrl-C, and the tests of Ctrl-C with them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that run side by side have a core each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before what is slow is left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs files of others that are not here, skip what needs models that can be had, and mark."""
    skip_without_models(items)
    mark_seldom(items)
    here, elsewhere = [], []
    for item in items:
        needed = [SHARED / name for mark in item.iter_markers("published") for name in mark.args]
        (here if all(path.exists() for path in needed) else elsewhere).append(item)
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = here


@pytest.fixture(autouse=True)
def _in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a command would say how far it is, which is tried by itself."""
    monkeypatch.setattr("inversionview.cli.waiting.SILENT", float("inf"))
