"""Makes the page on the addition circuit from the maps in `docs/data`: every sentence from a measured share."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from docs.maps import DATA
from inversionview.report.findings import Claim, Verdict, first_known, partly_known, rule, verdicts
from inversionview.report.map_terminal import map_lines

FIGURES = "the paper's Figures 4 and 5"
PATCHING = "its published activation patching (target A1 at `=`, contrast in F1 and S1)"
PATCHING_A2 = "its published activation patching (target A2 at A1, contrast in F2 and S2, sums under 1000)"

AT_EQUALS: list[Claim] = [
    {"site": "a0.0", "at": "=", "reads": ["F1+S1"], "not_": ["F2+S2"], "source": FIGURES},
    {"site": "a0.1", "at": "=", "reads": ["F1+S1"], "not_": ["F2+S2"], "source": PATCHING},
    {"site": "a0.2", "at": "=", "reads": ["F1+S1"], "not_": ["F2+S2"], "source": PATCHING},
    {"site": "a0.3", "at": "=", "reads": ["F2+S2"], "not_": ["F1+S1"], "source": FIGURES},
]
AT_A1: list[Claim] = [
    {"site": "a0.0", "at": "A1", "reads": [], "not_": ["F2+S2"], "source": PATCHING_A2},
    {"site": "a0.1", "at": "A1", "reads": ["F2+S2"], "not_": [], "source": PATCHING_A2},
    {"site": "a0.2", "at": "A1", "reads": ["F2+S2"], "not_": [], "source": PATCHING_A2},
    {"site": "a0.3", "at": "A1", "reads": [], "not_": ["F2+S2"], "source": PATCHING_A2},
]
PAIRS = ("F1+S1", "F2+S2", "F3+S3")
CARRIES = ("C1", "C2", "C3")
ANSWER = {"A1": "=", "A2": "A1", "A3": "A2", "A4": "A3"}
"""Each answer digit, and the position at which the model has to say it."""
WIDTH = 118
PAPER, OURS, THREE = "map-paper_addition", "map-addition", "map-paper_addition-three-digits"
FILES = tuple(DATA / f"{name}.json" for name in (PAPER, OURS, THREE))


def page() -> str:
    """The page as Markdown."""
    paper, ours, three = load(PAPER), load(OURS), load(THREE)
    compared = [
        *(("the paper's model", verdict) for verdict in verdicts(paper, AT_EQUALS)),
        *(("the paper's model, sums under 1000", verdict) for verdict in verdicts(three, AT_A1)),
        *(("the bundled model", verdict) for verdict in verdicts(ours, AT_EQUALS)),
    ]
    introduction = INTRODUCTION.format(rule=rule(), queries=paper["queries"], epsilon=paper["epsilon"])
    parts = [
        "# What the maps say about addition\n",
        textwrap.fill(introduction, 120) + "\n",
        "## Beside the paper's findings\n",
        "### Cells that disagree\n",
        *_claims(compared, agree=False),
        BUNDLED,
        "### Cells that agree\n",
        *_claims(compared, agree=True),
        NOT_COMPARED,
        *_model("The paper's model", paper),
        *_model("The bundled model", ours),
        HOW,
    ]
    return "\n".join(parts)


def load(name: str) -> Any:
    """A map that `docs/maps.py` wrote."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def _claims(compared: list[tuple[str, Verdict]], *, agree: bool) -> Iterator[str]:
    yield "| model | site | the claim | measured | the claim is from |"
    yield "| --- | --- | --- | --- | --- |"
    for model, verdict in compared:
        if verdict.agrees == agree:
            claim = verdict.claim
            words = [f"reads {' and '.join(claim['reads'])}"] if claim["reads"] else []
            words += [f"does not read {' or '.join(claim['not_'])}"] if claim["not_"] else []
            place = f"`{claim['site']}` at `{claim['at']}`"
            yield f"| {model} | {place} | {', '.join(words)} | {verdict.measured} | {claim['source']} |"
    yield ""


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
feature of the sum. Nobody looked at samples to write this page. It is generated from measured maps, and each sentence
goes by thresholds that were set before: {rule}. Shares are means over {queries} random sums a cell, of exact preimages
at ε = {epsilon}, rule `same`, prior uniform over the 810,000 sums. A head that reads a pair of digits, such as F1 and
S1, is found by their sum `F1+S1`: to know which of the two is which takes another bit that heads often lack.
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
.venv/bin/python -m docs.maps
make docs
```

The first measures the maps, which takes minutes, the second writes this page. One map by hand is
`inversionview map addition`, and of a model of your own `inversionview map addition --model FOLDER --convention tl`.
"""
