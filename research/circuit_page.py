"""What the pages on whole circuits show alike: what was patched, beside published numbers, and maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inversionview.report.map_terminal import map_lines
from inversionview.results import convert
from inversionview.results.map import Map
from research import markdown
from research.documents import Document, number, place, whole

MAP_WIDTH = 118
AGREES = 4.0
"""Standard errors, of both runs combined, up to which a number is the published one."""


def published(documents: Mapping[str, Document], numbers: Mapping[str, Sequence[tuple[str, str, float]]]) -> str:
    """Published numbers beside ours; `numbers`: for each setting (what, order and sites or `clean`, published).

    The published run is taken to be as long as ours, so that both have the same standard error.
    """
    rows, worst = [], 0.0
    for setting, expected in numbers.items():
        for words, kind, value in expected:
            mean, se = _measured(documents[setting], kind)
            apart = abs(mean - value) / (se * math.sqrt(2))
            worst = max(worst, apart)
            mark = "" if apart <= AGREES else " **differs**"
            rows.append((setting, words, f"{value:.2f}", number(mean, se), f"{apart:.1f} standard errors{mark}"))
    which = "All" if worst <= AGREES else "Not all"
    agreement = f"{which} agree within {AGREES:g} standard errors of both runs combined"
    table = markdown.table(("setting", "patched", "published", "measured", "apart"), rows)
    return markdown.joined([table, f"{agreement}; the furthest is {worst:.1f} off."])


def _measured(document: Document, kind: str) -> tuple[float, float]:
    """Mean and standard error of `clean`, or of the `patched` difference or the `drop` of the n-th of an order."""
    if kind == "clean":
        return document["clean"], document["clean_se"]
    what, order, nth = kind.split()
    effect = [effect for effect in document["effects"] if effect["order"] == order][int(nth)]
    return (effect["drop"], effect["se"]) if what == "drop" else (effect["patched"], effect["patched_se"])


def effects(documents: Mapping[str, Document]) -> str:
    """Every setting with what patching each site alone does, and the sites in their order."""
    columns = ("sites patched together", "order", "logit difference", "drop", "of the whole effect")
    return markdown.joined(
        part
        for setting, document in documents.items()
        for part in (f"**{setting}**: {sentence(document)}", markdown.table(columns, _effects(document)))
    )


def _effects(document: Document) -> Iterator[Sequence[str]]:
    for effect in document["effects"]:
        sites = " ".join(f"`{place(site, document)}`" for site in effect["sites"])
        patched, drop = number(effect["patched"], effect["patched_se"]), number(effect["drop"], effect["se"])
        yield sites, effect["order"], patched, drop, f"{effect['drop'] / whole(document):.1%}"


def sentence(document: Document) -> str:
    """What was patched, on how many pairs."""
    conditions = [
        f"{which} inputs where `{document[key]}`"
        for which, key in (("clean", "where"), ("contrast", "contrast_where"))
        if document[key]
    ]
    only = f", {' and '.join(conditions)}" if conditions else ""
    clean, contrast = (number(document[run], document[f"{run}_se"]) for run in ("clean", "contrast_run"))
    return (
        f"target {document['target']}, contrast `{document['contrast']}`{only}; {document['n']:,} of "
        f"{document['drawn']:,} pairs, clean logit difference {clean}, contrast run {contrast}."
    )


def map_text(a_map: Any) -> str:
    """A map as the terminal shows it."""
    lines = map_lines(convert.parsed(Map, a_map, "a map"), MAP_WIDTH)
    return markdown.code(line.plain.rstrip() for line in lines)


def command(study: str, setting: Mapping[str, Any], n: int, model: str | None = None) -> str:
    """The shell command that does one setting."""
    options = [
        f"--{key.replace('_', '-')} {_quoted(str(value))}" for key, value in setting.items() if value is not None
    ]
    other = "" if model is None else f" --model {model} --convention tl"
    return f"inversionview patch {study} {' '.join(options)} -n {n}{other}"


def _quoted(value: str) -> str:
    return f'"{value}"' if any(char in value for char in " |!=:@") else value
