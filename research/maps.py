"""Measures maps: those that are shipped with the bundled studies, and those of the paper's model of addition.

`python -m research.maps` measures all, which takes minutes, `python -m research.maps counting` those of one study. The
maps of bundled studies lie in their folders, where the viewer finds them, the others in `research/results`, among them
those of sums under 1000 alone;
`python -m research.generate` makes the page on the addition circuit from both. The paper's model is mapped where it is
at hand, beside this repository; else its maps are left as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from inversionview.results import convert
from inversionview.results.map import Map
from inversionview.studies.description import MAP
from inversionview.studies.kept_map import write_map
from inversionview.studies.study import Study, load_study
from research.documents import keep, rounded
from research.paths import SHARED

PAPER = SHARED / "models" / "paper_addition"
DIGITS = ".4f"
"""As many as anybody reads."""
BUNDLED: dict[str, dict[str, Any]] = {
    "addition": {},
    "counting": {"queries": 20, "draws": 100_000},  # not enumerable: each query has draws of its own
    "ioi-small": {},
    "facts-small": {},
}
"""The settings of the map of each bundled study, where they are not the default."""


def main(names: Sequence[str] = ()) -> None:
    """Measure and write the maps of these studies, or all."""
    for name in names or BUNDLED:
        study = load_study(name)
        assert study.folder is not None
        document = rounded(study.map(**BUNDLED[name]).to_dict(), DIGITS)
        write_map(study.folder, study.parts.fingerprint, convert.parsed(Map, document, name))
        print(f"wrote {MAP} of {name}", flush=True)
    if not names or "addition" in names:
        measure_sums()


def measure_sums() -> None:
    """Maps of the paper's model of addition, and those of sums under 1000 of both models."""
    ours = load_study("addition")
    three_digits("map-addition", ours)
    if not PAPER.is_dir():
        print("the paper's model is not at hand: its maps are left as they are")
        return
    paper = ours.with_model(PAPER, convention="tl")
    keep("map-paper_addition", rounded(paper.map().to_dict(), DIGITS))
    three_digits("map-paper_addition", paper)


def three_digits(name: str, study: Study) -> None:
    """Map the first layer's heads on sums under 1000."""
    heads = [str(site) for site in study.sites if str(site).startswith("a0.")]
    keep(f"{name}-three-digits", rounded(study.map(sites=heads, where="not C1").to_dict(), DIGITS))


if __name__ == "__main__":
    main(sys.argv[1:])
