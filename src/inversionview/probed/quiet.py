"""Calls of transformers without what it says of its own accord."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.utils import logging


def quietly(load: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call without transformers' progress bar and its report of what did not fit, which `load` turns into an error."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return load(*args, **options)
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
