"""Shapes are checked while the tests run: those in the package's annotations, by jaxtyping."""

import signal

from jaxtyping import install_import_hook

import tests.shape_checks  # noqa: F401 -- found by the name below

install_import_hook("inversionview", "tests.shape_checks.checked")

# A shell that starts the tests in the background has them ignore Ctrl-C, and the tests of Ctrl-C with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
