"""Makes the page of the addition study: of the maps and of what was patched, both in `research/results`.

Every number and every verdict comes from a measurement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inversionview.report.map import first_known
from inversionview.results import convert
from inversionview.results.map import Cell, Map, partly_known
from inversionview.studies.description import MAP, bundled_studies
from research import addition_accuracy, circuit_page, markdown, seeds_page
from research.claims import UNTOUCHED, Bits, Claim, Measured, Moves, Untouched, Verdict, judged, rules, table
from research.documents import Document, load, share

HEADS = "a0.0,a0.1,a0.2,a0.3,a1.0,a1.1,a1.2,a1.3"
HEAD_ORDER = (
    "Which head of a layer is the first is chance, so those of the first layer are taken in the order in which most "
    "claims hold, which of 24 orders favours them."
)
A1, A2 = "A1 at =", "A2 at A1"
SETTINGS: dict[str, dict[str, Any]] = {
    A1: {"target": "A1", "at": "=", "sites": HEADS, "contrast": "change:F1,S1", "order": "both"},
    A2: {
        "target": "A2", "at": "A1", "sites": HEADS, "contrast": "change:F2,S2",
        "where": "A1 != 1", "contrast_where": "A1 != 1", "order": "both",
    },
}  # fmt: skip
_PUBLISHED = {
    (A1, "forward"): (8.52, 18.90, 24.56, 24.60, 25.12, 25.12, 25.14, 25.31),
    (A1, "reverse"): (0.49, 0.46, 4.74, 5.45, 5.47, 8.92, 18.86, 25.26),
    (A2, "forward"): (0.01, 13.80, 29.52, 29.43, 33.70, 33.91, 34.82, 35.29),
}
PLUS = "x0.post at +"
"""What is ablated."""
FIGURES = "the paper's Figures 4 and 5"
PATCHING = "its published activation patching"
THREE = "three digits"
"""What the map of sums under 1000 alone is called here."""
CLAIMS = [
    *(
        Claim(
            f"a0.{head} reads the hundreds digits at `=`, and the answer's first digit needs it",
            FIGURES if head == 0 else PATCHING,
            (Bits(f"a0.{head}", "=", "F1+S1", "reads"), Bits(f"a0.{head}", "=", "F2+S2", "does not read")),
            (Moves(A1, (f"a0.{head}",)),),
        )
        for head in (0, 1, 2)
    ),
    Claim(
        "a0.3 reads the tens digits at `=`, not the hundreds digits, whose change does not reach A1 by it",
        FIGURES,
        (Bits("a0.3", "=", "F2+S2", "reads"), Bits("a0.3", "=", "F1+S1", "does not read")),
        (Moves(A1, ("a0.3",), "barely moves"),),
    ),
    *(
        Claim(
            f"a0.{head} {reads} the tens digits at A1 in sums under 1000, {needs}",
            PATCHING,
            (Bits(f"a0.{head}", "A1", "F2+S2", reads, THREE),),
            (Moves(A2, (f"a0.{head}",), moves),),
        )
        for reads, moves, needs, heads in (
            ("reads", "moves", "and the answer's second digit needs it", (1, 2)),
            ("does not read", "barely moves", "nor does the answer's second digit need it", (0, 3)),
        )
        for head in heads
    ),
    Claim("The answer does not need what `x0.post` holds at `+`", "its published ablation", used=(Untouched(PLUS),)),
]
PAIRS = ("F1+S1", "F2+S2", "F3+S3")
CARRIES = ("C1", "C2", "C3")
ANSWER = {"A1": "=", "A2": "A1", "A3": "A2", "A4": "A3"}
"""Each answer digit, and the position at which the model has to say it."""
NAME = "study-addition"
MAPS = {"paper": "map-paper_addition", "bundled": "map-addition"}
"""The documents of each model's maps of all sums, and with an addition to the name, of sums under 1000."""
OURS = bundled_studies()["addition"] / MAP


def page(data: Document | None = None) -> str:
    """The page as Markdown."""
    data = load(NAME) if data is None else data
    ours = json.loads(OURS.read_text(encoding="utf-8"))["map"]
    models: list[str] = []
    verdicts: list[Verdict] = []
    published = ""
    if "paper" in data:
        models, verdicts = _told("the paper's model", "paper", load(MAPS["paper"]), data)
        published = _published(data["paper"])
    of_ours = _told("the bundled model", "bundled", ours, data)
    verdicts += of_ours[1]
    return markdown.page(
        "addition",
        queries=ours["queries"],
        epsilon=ours["epsilon"],
        rules=rules(),
        disagree=table(verdicts, agree=False),
        agree=table(verdicts, agree=True),
        seeds=seeds_page.section("addition", CLAIMS, HEAD_ORDER),
        published=published,
        models=markdown.joined(models + of_ours[0]),
    )


def _told(title: str, name: str, a_map: Document, data: Document) -> tuple[list[str], list[Verdict]]:
    """What the page has of one model, and the verdicts."""
    maps = {"map": a_map, THREE: load(f"{MAPS[name]}-three-digits")}
    verdicts = judged(title, measured(maps, data[name]), CLAIMS)
    return [_model(title.capitalize(), a_map, data[name])], verdicts


def measured(maps: Mapping[str, Document], data: Document) -> Measured:
    """What was measured of one model, as the claims ask for it."""
    return Measured(maps, data["patching"], ablation={PLUS: data["ablation"]})


def _published(measured: Document) -> str:
    commands = [circuit_page.command("addition", setting, 20_000, "FOLDER") for setting in SETTINGS.values()]
    numbers = {
        setting: [
            (_together(HEADS.split(",")[:: 1 if order == "forward" else -1][: nth + 1]), f"drop {order} {nth}", drop)
            for (of, order), drops in _PUBLISHED.items()
            if of == setting
            for nth, drop in enumerate(drops)
        ]
        for setting in SETTINGS
    }
    return markdown.page(
        "addition-published",
        commands=markdown.code(commands, "sh"),
        published=circuit_page.published(measured["patching"], numbers),
        accuracy=addition_accuracy.table(measured["accuracy"]),
        ablation=_ablation(measured["ablation"]),
    )


def _together(heads: list[str]) -> str:
    """Name heads that are patched together by the first and the last."""
    return heads[0] if len(heads) == 1 else f"{heads[0]} to {heads[-1]}"


def _ablation(measured: Document) -> str:
    effects = measured["effects"]
    sites = ", ".join(f"`{effect['at']}` {effect['kl']:.1e} (largest {effect['kl_max']:.1e})" for effect in effects)
    verdict = "all of them are" if max(effect["kl"] for effect in effects) < UNTOUCHED else "not all of them are"
    return (
        "Mean-ablating `x0.post` at `+`: mean KL(clean ‖ ablated) of the next token's distribution in nats, over "
        f"{measured['n']:,} held-out sums, and the largest of a single sum, at {sites}. A distribution counts as "
        f"unchanged where the mean is below {UNTOUCHED:g}: {verdict}."
    )


def _model(title: str, a_map: Any, measured: Document) -> str:
    first = first_known(convert.parsed(Map, a_map, title))
    return markdown.page(
        "addition-model",
        title=title,
        name=title.lower(),
        map=circuit_page.map_text(a_map),
        heads=_heads(a_map),
        carries=markdown.listed(_first(feature, first.get(feature, {}), a_map["ats"]) for feature in CARRIES),
        answer=markdown.listed(_ready(digit, at, first.get(digit, {}).get(at), a_map) for digit, at in ANSWER.items()),
        effects=circuit_page.effects(measured["patching"]),
    )


def _heads(a_map: Any) -> str:
    """A table of the digit pairs that each head reads, by position."""
    heads = [site for site in a_map["sites"] if site.startswith("a")]
    ats = [at for at in a_map["ats"] if at in ("=", "A1", "A2", "A3", "A4")]
    cells = {(cell["site"], cell["at"]): cell for cell in a_map["cells"]}
    rows = [[f"`{head}`", *(_pairs(cells[head, at]) for at in ats)] for head in heads]
    return markdown.table(["head", *(f"at `{at}`" for at in ats)], rows)


def _pairs(cell: Any) -> str:
    read = [name for name in PAIRS if name in partly_known(convert.parsed(Cell, cell, "a cell"))]
    return ", ".join(f"{name} {share(cell['bits'][name]):.0%}" for name in read) or "–"


def _first(feature: str, sites: dict[str, str], ats: list[str]) -> str:
    places = [f"at `{at}` from `{sites[at]}` on" for at in ats if at in sites]
    return f"{feature} is known {', '.join(places) or 'nowhere'}."


def _ready(digit: str, at: str, site: str | None, a_map: Document) -> str:
    if site is not None:
        return f"{digit} is known at `{at}`, where it has to be said, from `{site}` on."
    last = next(cell for cell in a_map["cells"] if cell["site"] == a_map["sites"][-1] and cell["at"] == at)
    bits = last["bits"][digit]
    return (
        f"{digit} is not known at `{at}` at any site: `{last['site']}` gives {bits['bits']:.2f} of {bits['of']:.2f} "
        f"bits ({share(bits):.0%})."
    )
