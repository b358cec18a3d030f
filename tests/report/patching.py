"""Effects of patching as they are reported."""

from __future__ import annotations

from inversionview.results import convert
from inversionview.results.patching import Patching


def effect(order, sites, positions, patched):
    return {
        "sites": sites, "positions": positions, "order": order, "patched": patched, "patched_se": 0.25,
        "drop": 10.0 - patched, "se": 0.125,
    }  # fmt: skip


def document(**changes) -> Patching:
    forward = [
        effect("forward", ["a0.0"], ["="], 5.0),
        effect("forward", ["a0.0", "embed@F1"], ["=", "F1"], -10.0),
    ]
    reverse = [
        effect("reverse", ["embed@F1"], ["F1"], 9.996),
        effect("reverse", ["embed@F1", "a0.0"], ["F1", "="], -10.0),
    ]
    made = {
        "study": "addition", "target": "A1", "at": "=", "contrast": "change:F1", "where": "A1 != 1",
        "contrast_where": None, "direction": "contrast-into-clean", "seed": 0, "drawn": 2000, "n": 800,
        "left_out": {"where": 1190, "position": 0, "contrast": 10}, "clean": 10.0, "clean_se": 0.5,
        "contrast_run": -10.0, "contrast_run_se": 0.5, "effects": forward + reverse,
    }  # fmt: skip
    return convert.parsed(Patching, made | changes, "effects")
