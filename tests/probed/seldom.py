"""Which tiny models `make test` leaves out: of each family one or two are tried there, and all of them in CI."""

import pytest

SELDOM = frozenset({
    "gpt_neox sequential", "gptj", "mistral", "qwen2", "gemma3_text", "phi3", "falcon 7b", "falcon 11b", "stablelm",
    "stablelm parallel", "mixtral", "smollm3", "starcoder2",
})  # fmt: skip


def mark_seldom(items):
    """Mark the tests of these models as slow, whether a model is their parameter or the first part of one."""
    for item in items:
        values = getattr(item, "callspec", None) and item.callspec.params.values()
        firsts = [value[0] if isinstance(value, tuple) and value else value for value in values or ()]
        if any(isinstance(first, str) and first in SELDOM for first in firsts):
            item.add_marker(pytest.mark.slow)
