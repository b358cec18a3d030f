"""How good a decoder is after ninety seconds on one core, from nothing.

The run is the one that `inversionview train addition` makes, in a process of its own with one thread; its wall time
starts when the probed model is loaded and ends when the trained decoder is on disk. What it reached is measured
afterwards on held-out inputs, and is not part of the time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.common import Row, addition_model, in_one_thread

SECONDS, TARGET_RATE = 90.0, 0.45
MARGIN = 5.0
"""Left of the ninety seconds for loading, saving, and a budget that is kept only roughly."""
QUERIES = 2000


def run(*, quick: bool = False) -> list[Row]:
    """The in-ε rate that was reached, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        printed = in_one_thread(
            "benchmarks.time_to_quality", "--child", str(Path(folder) / "study"), *(["--quick"] if quick else [])
        )
    end = json.loads(printed.splitlines()[-1])
    any_, same = end["mean"]["any"], end["mean"]["same"]
    return [
        {
            "name": "time to quality, in-ε rate (rule any) from scratch",
            "value": any_["rate"],
            "unit": "of samples",
            "target": TARGET_RATE,
            "sense": "at least",
            "detail": f"{addition_model()[1]}, mean of {end['n_sites']} sites, {end['n']} held-out inputs each, "
            f"standard error {any_['se']:.4f}, floor {any_['floor']:.3f}; rule same {same['rate']:.3f} "
            f"(floor {same['floor']:.3f}); in the domain {end['in_domain']:.3f}",
        },
        {
            "name": "time to quality, wall time",
            "value": end["seconds"],
            "unit": "s on one thread",
            "target": SECONDS,
            "detail": f"{end['steps']} steps, {end['instances_per_second']:,.0f} instances/s, {end['shares']}",
        },
    ]


def train_and_evaluate(out: Path, *, quick: bool) -> dict[str, Any]:
    """Train for the budget, then measure; in this process."""
    import torch

    from inversionview.studies.recipes import Budget
    from inversionview.studies.study import load_study
    from inversionview.studies.training_runs import train_decoder

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    budget = Budget(steps=3) if quick else Budget(minutes=(SECONDS - MARGIN) / 60)
    start = perf_counter()
    result = train_decoder("addition", out, model=addition_model()[0], convention="tl", budget=budget, seed=0)
    seconds = perf_counter() - start
    rates = load_study(out).evaluate(10 if quick else QUERIES).to_dict()
    shares = ", ".join(f"{part} {share:.0%}" for part, share in result.shares.items() if share >= 0.01)
    return {
        "seconds": seconds,
        "steps": result.steps,
        "instances_per_second": result.instances_per_second,
        "shares": shares,
        "n_sites": len(rates["sites"]),
        **{name: rates[name] for name in ("n", "mean", "in_domain")},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(train_and_evaluate(Path(sys.argv[2]), quick="--quick" in sys.argv)))
    else:
        from benchmarks.run import main

        main(["time_to_quality", *sys.argv[1:]])
