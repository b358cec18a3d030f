"""Makes the page of the counting study; every number and verdict comes from what `research/studies.py` measured."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from research import study_page
from research.claims import Bits, Claim, Measured, More, Moves, Uses, bits_at, in_bits, judged, rules, table
from research.paths import RESULTS

FILE = RESULTS / "study-counting.json"
NAMES = {"paper": "the paper's model", "bundled": "the bundled model"}
NOT_EXTREME = "length != 3 and length != 27"
PLACES = "a0.0@letter,a0.0@:,a1.0@letter,a1.0@:,embed@letter,pos_embed@letter,pos_embed@:,x0.mid@letter,m0@letter"
SETTINGS: dict[str, dict[str, Any]] = {
    "random": {
        "target": "answer",
        "contrast": "random",
        "sites": PLACES,
        "where": NOT_EXTREME,
        "order": "each",
    },
    "flip": {
        "target": "answer",
        "contrast": "flip",
        "n": 4000,
        "sites": PLACES,
        "where": NOT_EXTREME,
        "order": "each",
    },
    "flip, in turn": {
        "target": "answer",
        "contrast": "flip",
        "n": 4000,
        "sites": "a0.0@letter,embed@letter,a1.0@:",
        "where": NOT_EXTREME,
        "order": "both",
    },
}
PUBLISHED = {
    "random": [
        ("nothing: the clean difference", "clean", 22.12),
        ("a1.0 at `:`", "patched each 3", -15.8),
        ("a0.0 at the queried letter", "patched each 0", 0.05),
        ("a0.0 at `:`", "patched each 1", 16.0),
    ]
}
MAPS = {"map": 0.1, "wide map": 0.25}
"""The ε of each map. In the wide one more inputs are members, so that it can speak where the other is silent."""
FEATURES = ["letter", "count", "count1", "count2", "others", "length"]
QUESTIONS = {"x0.post at letter": ("x0.post", "letter"), "a1.0 at :": ("a1.0", ":")}

SECTION = "the paper, on character counting"
CLAIMS = [
    Claim(
        "At the queried letter, the first layer's head collects the letter's count",
        SECTION,
        (Bits("x0.mid", "letter", "count", "reads"),),
        (Moves("random", ("a0.0@letter",)), Moves("flip", ("a0.0@letter",))),
    ),
    Claim(
        "At the queried letter, the first MLP sharpens the count",
        SECTION,
        (More("x0.post", "x0.mid", "letter", "count"), Bits("x0.post", "letter", "count", "knows")),
        (Moves("random", ("m0@letter",)), Uses("x0.post at letter", "count", "used")),
    ),
    Claim(
        "At the queried letter, the first MLP drops the other letters' counts",
        SECTION,
        (More("x0.mid", "x0.post", "letter", "others"),),
        (Uses("x0.post at letter", "count1", "not encoded"), Uses("x0.post at letter", "count2", "not encoded")),
    ),
    Claim(
        "The second layer's head moves the count to `:`",
        SECTION,
        (Bits("a1.0", ":", "count", "knows"),),
        (Moves("random", ("a1.0@:",)), Moves("flip", ("a1.0@:",)), Uses("a1.0 at :", "count", "used")),
    ),
    Claim(
        "Position signals tell length, which helps the answer",
        SECTION,
        (Bits("x0.pre", "letter", "length", "knows"), Bits("a0.0", ":", "length", "reads")),
        (Moves("random", ("a0.0@:",)), Moves("random", ("pos_embed@letter",))),
    ),
]


def load() -> Any:
    """What was measured."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def measured(found: Any) -> Measured:
    """What was measured of one model."""
    return Measured({name: found[name] for name in MAPS}, found["patching"], found["causal"])


def page(data: Any | None = None) -> str:
    """The page as Markdown."""
    data = load() if data is None else data
    models = {key: data[key] for key in NAMES if key in data}
    verdicts = [verdict for key, found in models.items() for verdict in judged(NAMES[key], measured(found), CLAIMS)]
    parts = [
        "# Character counting\n",
        _filled(INTRODUCTION.format(rules=rules(), epsilon=MAPS["map"], wide=MAPS["wide map"])),
        "## The paper's claims\n",
        "### Those that disagree\n",
        *table(verdicts, agree=False),
        "### Those that agree\n",
        *table(verdicts, agree=True),
        _filled(READING),
        *(["## Published numbers, on the paper's model\n"] if "paper" in models else []),
        *(study_page.published(models["paper"]["patching"], PUBLISHED) if "paper" in models else []),
    ]
    for key, found in models.items():
        parts += [f"## {NAMES[key].capitalize()}\n", "### What each site knows\n"]
        for name, epsilon in MAPS.items():
            queries = found[name]["queries"]
            parts += [f"ε = {epsilon}, {queries} random inputs a cell:\n", *study_page.map_text(found[name])]
        parts += ["### Before and after the first MLP, at the queried letter\n", *_around_mlp(found)]
        parts += ["### What patching does\n", *study_page.effects(found["patching"])]
        parts += ["### Encoded, and used\n", *_uses(found["causal"])]
    parts += ["## How to make this page again\n", HOW]
    return "\n".join(parts)


def _around_mlp(found: Any) -> Iterator[str]:
    yield "| ε | feature | `x0.mid` | `m0` | `x0.post` |"
    yield "| --- | --- | --- | --- | --- |"
    for name, epsilon in MAPS.items():
        for feature in FEATURES:
            cells = [bits_at(found[name], site, "letter", feature) for site in ("x0.mid", "m0", "x0.post")]
            row = ["?" if bits is None else in_bits(bits) for bits in cells]
            yield f"| {epsilon} | {feature} | {' | '.join(row)} |"
    yield ""


def _uses(causal: Any) -> Iterator[str]:
    yield "| place | feature | used | merely present | not encoded | tells nothing |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for place, documents in causal.items():
        for name in FEATURES:
            verdicts = [next(f["verdict"] for f in one["features"] if f["name"] == name) for one in documents]
            counts = [verdicts.count(verdict) for verdict in ("used", "merely present", "not encoded", None)]
            yield f"| {place} | {name} | {' | '.join(map(str, counts))} |"
    yield ""


def _filled(text: str) -> str:
    return "\n\n".join(textwrap.fill(part, 120) for part in text.strip().split("\n\n")) + "\n"


INTRODUCTION = """
A model that reads `vvzccvczvvvzvcvc|v:` and says how many `v` there were. How does it count? The paper read its
activations, and patched them; here is each of its claims, with the bits that were measured, what patching did, and
whether they agree. Nobody looked at samples to write this page: it is generated, and each verdict goes by thresholds
that were set before.

{rules}

Bits are means over random inputs, ε = {epsilon} (or {wide}, where too few inputs are within that; it
is said), rule `same`, from samples of the prior with known
densities, since the domain cannot be enumerated; ± is one standard error. What stands in **bold** is why
a claim disagrees.
"""
READING = """
The bundled model has the shape of the paper's but was trained by our recipe, with another optimiser, so nothing says
that it must work as the paper's does.
"""
HOW = """\
```sh
.venv/bin/python -m research.studies counting
```

It measures and prints this page, in some minutes. One patching by hand, on the bundled model:

```sh
inversionview patch counting --target answer --sites a0.0@letter,a0.0@:,a1.0@: --contrast random --order each
```
"""
