"""What the pages of the studies have in common: tables of patching, beside published numbers, and maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inversionview.report.map_terminal import map_lines
from research.claims import number, place, whole

WIDTH = 118
AGREES = 4.0
"""Standard errors, of both runs combined, up to which a number is the published one."""


def published(documents: Mapping[str, Any], numbers: Mapping[str, Sequence[tuple[str, str, float]]]) -> Iterator[str]:
    """Published numbers beside ours; `numbers`: for each setting (what, order and sites or `clean`, published).

    The published run is taken to be as long as ours, so that both have the same standard error.
    """
    yield "| setting | patched | published | measured | apart |"
    yield "| --- | --- | --- | --- | --- |"
    worst = 0.0
    for setting, rows in numbers.items():
        document = documents[setting]
        for words, kind, value in rows:
            mean, se = _measured(document, kind)
            apart = abs(mean - value) / (se * math.sqrt(2))
            worst = max(worst, apart)
            mark = "" if apart <= AGREES else " **differs**"
            yield f"| {setting} | {words} | {value:.2f} | {number(mean, se)} | {apart:.1f} standard errors{mark} |"
    yield ""
    verdict = "All" if worst <= AGREES else "Not all"
    yield f"{verdict} agree within {AGREES:g} standard errors of both runs combined; the furthest is {worst:.1f} off.\n"


def _measured(document: Any, kind: str) -> tuple[float, float]:
    """Mean and standard error of `clean`, or of the `patched` difference or the `drop` of the n-th of an order."""
    if kind == "clean":
        return document["clean"], document["clean_se"]
    what, order, nth = kind.split()
    effect = [effect for effect in document["effects"] if effect["order"] == order][int(nth)]
    return (effect["drop"], effect["se"]) if what == "drop" else (effect["patched"], effect["patched_se"])


def effects(documents: Mapping[str, Any]) -> Iterator[str]:
    """Every setting with what patching each site alone does, and the sites in their order."""
    for setting, document in documents.items():
        yield f"**{setting}**: {sentence(document)}\n"
        yield "| sites patched together | order | logit difference | drop | of the whole effect |"
        yield "| --- | --- | --- | --- | --- |"
        for effect in document["effects"]:
            sites = " ".join(f"`{place(site, document)}`" for site in effect["sites"])
            share = effect["drop"] / whole(document)
            yield (
                f"| {sites} | {effect['order']} | {number(effect['patched'], effect['patched_se'])} | "
                f"{number(effect['drop'], effect['se'])} | {share:.1%} |"
            )
        yield ""


def sentence(document: Any) -> str:
    """What was patched, on how many pairs."""
    conditions = [
        f"{which} inputs where `{document[key]}`"
        for which, key in (("clean", "where"), ("contrast", "contrast_where"))
        if document[key]
    ]
    only = f", {' and '.join(conditions)}" if conditions else ""
    clean, contrast = document["clean"], document["contrast_run"]
    return (
        f"target {document['target']}, contrast `{document['contrast']}`{only}; {document['n']:,} of "
        f"{document['drawn']:,} pairs, clean logit difference {number(clean, document['clean_se'])}, contrast run "
        f"{number(contrast, document['contrast_run_se'])}."
    )


def map_text(document: Any) -> Iterator[str]:
    """A map as the terminal shows it."""
    yield "```text"
    yield from (line.plain.rstrip() for line in map_lines(document, WIDTH))
    yield "```\n"


def command(study: str, setting: Mapping[str, Any], n: int, model: str | None = None) -> str:
    """The shell command that does one setting."""
    options = [
        f"--{key.replace('_', '-')} {_quoted(str(value))}" for key, value in setting.items() if value is not None
    ]
    other = "" if model is None else f" --model {model} --convention tl"
    return f"inversionview patch {study} {' '.join(options)} -n {n}{other}"


def _quoted(value: str) -> str:
    return f'"{value}"' if any(char in value for char in " |!=:@") else value
