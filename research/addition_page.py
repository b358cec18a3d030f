"""Makes the page of the addition study: of the maps in `research/results`, and of what `research/studies.py` patched.

Every number and every verdict comes from a measurement.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from inversionview.report.findings import first_known, partly_known
from inversionview.report.map_terminal import map_lines
from inversionview.studies import kept_map
from inversionview.studies.description import bundled_studies
from research import study_page
from research.claims import Bits, Claim, Measured, Moves, judged, rules, table
from research.paths import RESULTS

HEADS = "a0.0,a0.1,a0.2,a0.3,a1.0,a1.1,a1.2,a1.3"
A1, A2 = "A1 at =", "A2 at A1"
SETTINGS: dict[str, dict[str, Any]] = {
    A1: {"target": "A1", "at": "=", "sites": HEADS, "contrast": "change:F1,S1", "order": "both"},
    A2: {
        "target": "A2",
        "at": "A1",
        "sites": HEADS,
        "contrast": "change:F2,S2",
        "where": "A1 != 1",
        "contrast_where": "A1 != 1",
        "order": "both",
    },
}
_PUBLISHED = {
    (A1, "forward"): (8.52, 18.90, 24.56, 24.60, 25.12, 25.12, 25.14, 25.31),
    (A1, "reverse"): (0.49, 0.46, 4.74, 5.45, 5.47, 8.92, 18.86, 25.26),
    (A2, "forward"): (0.01, 13.80, 29.52, 29.43, 33.70, 33.91, 34.82, 35.29),
}


def together(sites: list[str]) -> str:
    """Name heads that are patched together by the first and the last."""
    return sites[0] if len(sites) == 1 else f"{sites[0]} to {sites[-1]}"


PUBLISHED = {
    setting: [
        (together(HEADS.split(",")[:: 1 if order == "forward" else -1][: nth + 1]), f"drop {order} {nth}", value)
        for (one, order), values in _PUBLISHED.items()
        if one == setting
        for nth, value in enumerate(values)
    ]
    for setting in SETTINGS
}
UNTOUCHED = 1e-6
"""Nats up to which an ablation leaves a distribution as it is."""

FIGURES = "the paper's Figures 4 and 5"
PATCHING = "its published activation patching"
CLAIMS = [
    Claim(
        "a0.0 reads the hundreds digits at `=`, and the answer's first digit needs it",
        FIGURES,
        (Bits("a0.0", "=", "F1+S1", "reads"), Bits("a0.0", "=", "F2+S2", "does not read")),
        (Moves(A1, ("a0.0",)),),
    ),
    *(
        Claim(
            f"a0.{head} reads the hundreds digits at `=`, and the answer's first digit needs it",
            PATCHING,
            (Bits(f"a0.{head}", "=", "F1+S1", "reads"), Bits(f"a0.{head}", "=", "F2+S2", "does not read")),
            (Moves(A1, (f"a0.{head}",)),),
        )
        for head in (1, 2)
    ),
    Claim(
        "a0.3 reads the tens digits at `=`, not the hundreds digits, whose change does not reach A1 by it",
        FIGURES,
        (Bits("a0.3", "=", "F2+S2", "reads"), Bits("a0.3", "=", "F1+S1", "does not read")),
        (Moves(A1, ("a0.3",), "barely moves"),),
    ),
]
AT_A1 = [
    *(
        Claim(
            f"a0.{head} reads the tens digits at A1 in sums under 1000, and the answer's second digit needs it",
            PATCHING,
            (Bits(f"a0.{head}", "A1", "F2+S2", "reads", "three digits"),),
            (Moves(A2, (f"a0.{head}",)),),
        )
        for head in (1, 2)
    ),
    *(
        Claim(
            f"a0.{head} does not read the tens digits at A1 in sums under 1000, nor does the answer's second digit "
            "need it",
            PATCHING,
            (Bits(f"a0.{head}", "A1", "F2+S2", "does not read", "three digits"),),
            (Moves(A2, (f"a0.{head}",), "barely moves"),),
        )
        for head in (0, 3)
    ),
]
PAIRS = ("F1+S1", "F2+S2", "F3+S3")
CARRIES = ("C1", "C2", "C3")
ANSWER = {"A1": "=", "A2": "A1", "A3": "A2", "A4": "A3"}
"""Each answer digit, and the position at which the model has to say it."""
WIDTH = 118
PAPER, THREE = "map-paper_addition", "map-paper_addition-three-digits"
OURS = bundled_studies()["addition"] / kept_map.FILE
FILE = RESULTS / "study-addition.json"
FILES = (*(RESULTS / f"{name}.json" for name in (PAPER, THREE)), OURS, FILE)


def page(data: Any | None = None) -> str:
    """The page as Markdown."""
    data = json.loads(FILE.read_text(encoding="utf-8")) if data is None else data
    paper, three = load(PAPER), load(THREE)
    ours = json.loads(OURS.read_text(encoding="utf-8"))["map"]
    verdicts = judged("the bundled model", Measured({"map": ours}, data["bundled"]["patching"]), CLAIMS)
    if "paper" in data:
        measured = Measured({"map": paper, "three digits": three}, data["paper"]["patching"])
        verdicts = judged("the paper's model", measured, [*CLAIMS, *AT_A1]) + verdicts
    introduction = INTRODUCTION.format(queries=paper["queries"], epsilon=paper["epsilon"])
    parts = [
        "# Three-digit addition\n",
        *(textwrap.fill(part, 120) + "\n" for part in (introduction, rules())),
        "## The paper's claims\n",
        "### Those that disagree\n",
        *table(verdicts, agree=False),
        BUNDLED,
        "### Those that agree\n",
        *table(verdicts, agree=True),
        NOT_COMPARED,
    ]
    if "paper" in data:
        parts += ["## Published numbers, on the paper's model\n", *_commands("FOLDER")]
        parts += study_page.published(data["paper"]["patching"], PUBLISHED)
        parts += ["### Ablation\n", _ablation(data["paper"]["ablation"])]
        parts += [*_model("The paper's model", paper), *_patching("The paper's model", data["paper"])]
    parts += [*_model("The bundled model", ours), *_patching("The bundled model", data["bundled"]), HOW]
    return "\n".join(parts)


def _commands(model: str) -> Iterator[str]:
    yield "The published drops of the logit difference are printed by these commands, where FOLDER is the model:\n"
    yield "```sh"
    yield from (study_page.command("addition", setting, 20_000, model) for setting in SETTINGS.values())
    yield "```\n"


def _ablation(found: Any) -> str:
    parts = [f"`{effect['at']}` {effect['kl']:.1e} (largest {effect['kl_max']:.1e})" for effect in found["effects"]]
    worst, sites = max(effect["kl"] for effect in found["effects"]), ", ".join(parts)
    verdict = "all of them are" if worst < UNTOUCHED else "not all of them are"
    return (
        "Mean-ablating `x0.post` at `+`: mean KL(clean ‖ ablated) of the next token's distribution in nats, over "
        f"{found['n']:,} held-out sums, and the largest of a single sum, at {sites}. A distribution counts as "
        f"unchanged where the mean is below {UNTOUCHED:g}: {verdict}.\n"
    )


def _patching(name: str, found: Any) -> Iterator[str]:
    yield f"### What patching does: {name.lower()}\n"
    yield from study_page.effects(found["patching"])


def load(name: str) -> Any:
    """A map that `research/maps.py` wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _model(name: str, document: Any) -> Iterator[str]:
    yield f"## {name}\n"
    yield "```text"
    yield from (line.plain.rstrip() for line in map_lines(document, WIDTH))
    yield "```\n"
    yield f"### Which head reads which digit pair: {name.lower()}\n"
    yield from _heads(document)
    known = first_known(document)
    yield f"### Where carries appear: {name.lower()}\n"
    yield from (_first(feature, known.get(feature, {}), document["ats"]) for feature in CARRIES)
    yield f"\n### Where answer digits are ready: {name.lower()}\n"
    yield from (_ready(digit, at, known.get(digit, {}).get(at), document) for digit, at in ANSWER.items())
    yield ""


def _heads(document: Any) -> Iterator[str]:
    """A table of the digit pairs that each head reads, by position."""
    heads = [site for site in document["sites"] if site.startswith("a")]
    ats = [at for at in document["ats"] if at in ("=", "A1", "A2", "A3", "A4")]
    cells = {(cell["site"], cell["at"]): cell for cell in document["cells"]}
    yield "| head | " + " | ".join(f"at `{at}`" for at in ats) + " |"
    yield "| --- |" + " --- |" * len(ats)
    for site in heads:
        row = []
        for at in ats:
            bits = cells[site, at]["bits"]
            read = [name for name in PAIRS if name in partly_known(cells[site, at])]
            row.append(", ".join(f"{name} {bits[name]['bits'] / bits[name]['of']:.0%}" for name in read) or "–")
        yield f"| `{site}` | " + " | ".join(row) + " |"
    yield ""


def _first(feature: str, known: dict[str, str], ats: list[str]) -> str:
    places = [f"at `{at}` from `{known[at]}` on" for at in ats if at in known]
    return f"- {feature} is known {', '.join(places)}." if places else f"- {feature} is known nowhere."


def _ready(digit: str, at: str, site: str | None, document: Any) -> str:
    if site is not None:
        return f"- {digit} is known at `{at}`, where it has to be said, from `{site}` on."
    last = next(c for c in document["cells"] if c["site"] == document["sites"][-1] and c["at"] == at)
    bits = last["bits"][digit]
    return (
        f"- {digit} is not known at `{at}` at any site: `{last['site']}` gives {bits['bits']:.2f} of {bits['of']:.2f} "
        f"bits ({bits['bits'] / bits['of']:.0%})."
    )


INTRODUCTION = """\
Every site of a model of 3-digit addition, read at every named position: how many bits its activation gives about each
feature of the sum; and every head patched: what the model does with it. Nobody looked at samples to write this page. It
is generated from what was measured, and each verdict goes by thresholds that were set before. Bits are means over
{queries} random sums a cell, of exact preimages at ε = {epsilon}, rule `same`, prior uniform over the 810,000 sums; ±
is one standard error. A head that reads a pair of digits, such as F1 and S1, is found by their sum `F1+S1`: to know
which of the two is which takes another bit that heads often lack. What stands in **bold** is why a claim disagrees.
"""
BUNDLED = """\
The bundled model has the shape of the paper's but was trained by our recipe, with another optimiser and without
dropout, so nothing says that it must work as the paper's does. Its own circuit is below.
"""
NOT_COMPARED = """\
What the paper's figures say beyond these lines was not compared, because we have it in no form that a program could
check. A mean over all sums mixes sums with three and four digits, whose answer digits play other parts at the same
position; `--where` keeps them apart.
"""
HOW = """\
## How to make this page again

```sh
.venv/bin/python -m research.studies addition
```

It measures and prints this page, in some twenty minutes, most of them for the maps. One map by hand is
`inversionview map addition`, and of a model of your own `inversionview map addition --model FOLDER --convention tl`.
"""
