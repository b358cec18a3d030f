"""Calls of transformers and peft without what they say of their own accord."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def quietly(load: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call without a progress bar, advice, and the report of what did not fit, which loading turns into an error."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load(*args, **options)
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
