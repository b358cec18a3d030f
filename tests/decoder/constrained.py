"""Decoders of the counting task, which says what can follow."""

from __future__ import annotations

from inversionview.decoder.model import DecoderConfig
from inversionview.tasks import get_task

TASK = get_task("counting")


def config(**changes) -> DecoderConfig:
    fields = {
        "sites": ("a0.0", "x1.post"), "d_activation": 8, "vocab_size": 40, "max_length": 33, "begin": 37, "end": 38,
        "pad": 39, "task": "counting", "d_model": 16, "n_heads": 2, "trunk_width": 16, "trunk_blocks": 1,
        "constrained": True,
    }  # fmt: skip
    return DecoderConfig(**fields | changes)
