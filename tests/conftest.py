"""Shapes are checked while the tests run: those in the package's annotations, by jaxtyping."""

import os
import signal

import torch
from jaxtyping import install_import_hook

import tests.shape_checks  # noqa: F401 -- found by the name below

install_import_hook("inversionview", "tests.shape_checks.checked")

# A shell that starts the tests in the background has them ignore Ctrl-C, and the tests of Ctrl-C with them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that run side by side have a core each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
