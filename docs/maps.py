"""Measures the maps that the page on the addition circuit shows: `python -m docs.maps`, which takes minutes.

The maps go to `docs/data`; `python -m docs.generate` makes the page from them. The paper's model is mapped where it is
at hand, beside this repository; else its maps are left as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inversionview.files import write_atomic
from inversionview.studies.study import load_study

FOLDER = Path(__file__).resolve().parent
DATA = FOLDER / "data"
PAPER = FOLDER.parents[1] / "shared" / "models" / "paper_addition"
HEADS = ("a0.0", "a0.1", "a0.2", "a0.3")


def main() -> None:
    """Measure and write all maps."""
    study = load_study("addition")
    write("map-addition", study.map())
    if not PAPER.is_dir():
        print("the paper's model is not at hand: its maps are left as they are")
        return
    paper = study.with_model(PAPER, convention="tl")
    write("map-paper_addition", paper.map())
    write("map-paper_addition-three-digits", paper.map(sites=HEADS, where="not C1"))


def write(name: str, document: Any) -> None:
    """Keep a map with as many digits as anybody reads."""
    DATA.mkdir(exist_ok=True)
    write_atomic(DATA / f"{name}.json", json.dumps(rounded(document), ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"wrote docs/data/{name}.json", flush=True)


def rounded(value: Any) -> Any:
    """The same document with four digits behind the point."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) + 0.0 if isinstance(value, float) else value


if __name__ == "__main__":
    main()
