"""Makes the page of the counting study; every number and verdict comes from what `research/studies.py` measured."""

from __future__ import annotations

from typing import Any

from research import circuit_page, markdown, seeds_page
from research.claims import Bits, Claim, Measured, More, Moves, Uses, judged, rules, table
from research.documents import Document, bits_at, in_bits, load, verdict_counts

NAME = "study-counting"
MODELS = {"paper": "the paper's model", "bundled": "the bundled model"}
PLACES = "a0.0@letter,a0.0@:,a1.0@letter,a1.0@:,embed@letter,pos_embed@letter,pos_embed@:,x0.mid@letter,m0@letter"
_RANDOM: dict[str, Any] = {
    "target": "answer", "contrast": "random", "sites": PLACES, "where": "length != 3 and length != 27", "order": "each",
}  # fmt: skip
_FLIP = _RANDOM | {"contrast": "flip", "n": 4000}
SETTINGS = {
    "random": _RANDOM,
    "flip": _FLIP,
    "flip, in turn": _FLIP | {"sites": "a0.0@letter,embed@letter,a1.0@:", "order": "both"},
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
AROUND_MLP = ("x0.mid", "m0", "x0.post")

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


def page(data: Document | None = None) -> str:
    """The page as Markdown."""
    data = load(NAME) if data is None else data
    models = {title: data[key] for key, title in MODELS.items() if key in data}
    verdicts = [verdict for title, model in models.items() for verdict in judged(title, measured(model), CLAIMS)]
    published = ""
    if "paper" in data:
        numbers = circuit_page.published(data["paper"]["patching"], PUBLISHED)
        published = markdown.joined(["## Published numbers, on the paper's model", numbers])
    return markdown.page(
        "counting",
        rules=rules(),
        epsilon=MAPS["map"],
        wide=MAPS["wide map"],
        disagree=table(verdicts, agree=False),
        agree=table(verdicts, agree=True),
        seeds=seeds_page.section("counting", CLAIMS),
        published=published,
        models=markdown.joined(_model(title.capitalize(), model) for title, model in models.items()),
    )


def measured(model: Document) -> Measured:
    """What was measured of one model."""
    return Measured({name: model[name] for name in MAPS}, model["patching"], model["causal"])


def _model(title: str, model: Document) -> str:
    maps = [
        part
        for name, epsilon in MAPS.items()
        for part in (
            f"ε = {epsilon}, {model[name]['queries']} random inputs a cell:",
            circuit_page.map_text(model[name]),
        )
    ]
    around_mlp = [
        (epsilon, feature, *(_bits(model[name], site, feature) for site in AROUND_MLP))
        for name, epsilon in MAPS.items()
        for feature in FEATURES
    ]
    uses = [
        (place, feature, *verdict_counts(queries, feature))
        for place, queries in model["causal"].items()
        for feature in FEATURES
    ]
    return markdown.page(
        "counting-model",
        title=title,
        maps=markdown.joined(maps),
        around_mlp=markdown.table(["ε", "feature", *(f"`{site}`" for site in AROUND_MLP)], around_mlp),
        effects=circuit_page.effects(model["patching"]),
        uses=markdown.table(("place", "feature", "used", "merely present", "not encoded", "tells nothing"), uses),
    )


def _bits(a_map: Document, site: str, feature: str) -> str:
    bits = bits_at(a_map, site, "letter", feature)
    return "?" if bits is None else in_bits(bits)
