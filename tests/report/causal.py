"""A causal check as it is reported."""

from __future__ import annotations

from typing import Any

from inversionview.results import convert
from inversionview.results.use import Use


def effect(n: int, kl: float | None, half: float = 0.1, same: float | None = 1.0) -> dict:
    interval = None if kl is None else [kl - half, kl + half]
    return {"n": n, "kl": kl, "interval": interval, "largest": kl, "same_top": same, "by_output": []}


def feature(name: str, verdict: str | None, apart: float | None, **changes) -> dict:
    made = {
        "name": name, "value": "6", "bits": 1.5, "of": 3.0, "sharing": effect(90, 1.25),
        "differing": effect(100, 4.0), "difference": apart,
        "interval": None if apart is None else [apart - 1, apart + 1],
        "verdict": verdict, "why_not": None, "by_members": False,
    }  # fmt: skip
    return made | changes


def document(**changes) -> Use:
    made: dict[str, Any] = {
        "study": "addition", "epsilon": 0.1, "metric": "euclidean", "position_rule": "same", "seed": 0,
        "input": "615+861=1476", "tokens": [10, 13], "position": 8, "at": "=", "site": "x0.post",
        "exact": True, "inside": 1838, "weighted": True, "outputs": ["=", "A1"], "given": [], "drawn": 20_000,
        "members": effect(300, 1e-8, 1e-9), "nearest": effect(300, 0.031, 0.01, 0.97),
        "random": effect(500, 3.75, 0.5, 0.563), "difference": 3.75, "interval": [3.3, 4.2], "verdict": "used",
        "why_not": None,
        "features": [
            feature("S1", "merely present", -0.5), feature("F3", "not encoded", 0.9, bits=-0.3),
            feature("F1", "used", 1.0), feature("C1", "used", 3.0, by_members=True),
            feature("A4", None, None, why_not="only 3 of 20,000 non-members share it"),
            feature("A5", None, None, why_not="only 3 of 20,000 non-members share it"),
        ],
    }  # fmt: skip
    return convert.parsed(Use, made | changes, "use")
